//! The lines of a file that ksail manages, between two comment lines.

use std::fmt;

const BEGIN: &str = "# BEGIN ksail";
const END: &str = "# END ksail";

/// Why nothing was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoBlock {
    /// Neither line is there.
    Absent,
    /// One is, or several are, or they are the wrong way round.
    Broken,
}

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "it has no lines between '{BEGIN}' and '{END}'"),
            Self::Broken => write!(f, "it does not have the lines '{BEGIN}' and '{END}' once each, in this order"),
        }
    }
}

/// The lines of a new block.
pub(super) fn new(lines: &[String], indent: usize) -> String {
    let begin = format!("{BEGIN}: these lines follow ksail.yaml; delete the two comments to take them over");
    let all = std::iter::once(begin.as_str()).chain(lines.iter().map(String::as_str)).chain([END]);
    all.fold(String::new(), |text, line| format!("{text}{:indent$}{line}\n", ""))
}

/// The text with other lines in its block, indented as the block is.
pub(super) fn replace(text: &str, lines: &[String]) -> Result<String, NoBlock> {
    let starts_with = |marker: &str| {
        let mut at = 0;
        let mut found = Vec::new();
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with(marker) {
                found.push((at, line));
            }
            at += line.len();
        }
        found
    };
    let (begin, end) = match (starts_with(BEGIN).as_slice(), starts_with(END).as_slice()) {
        ([], []) => return Err(NoBlock::Absent),
        ([begin], [end]) if begin.0 < end.0 => (*begin, *end),
        _ => return Err(NoBlock::Broken),
    };
    let (start, line) = begin;
    let indent = &line[..line.len() - line.trim_start().len()];
    let newline = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
    let inside = lines.iter().fold(String::new(), |text, line| text + indent + line + newline);
    Ok([&text[..start + line.len()], &inside, &text[end.0..]].concat())
}
