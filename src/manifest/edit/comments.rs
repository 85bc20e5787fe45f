//! What a comment line says: words, or YAML that somebody has taken out for now.

/// The comment with which `ksail cluster init` begins the list. It is the list's, whatever stands below it.
pub(crate) const LIST_HEADING: &str =
    "Pull-through caches: what images are called, where they come from, the port here.";

/// Fields of an entry: a comment that begins with one and a colon is one that was taken out.
const FIELDS: [&str; 14] = [
    "host",
    "upstream",
    "port",
    "listenAddress",
    "fallback",
    "ttl",
    "credentials",
    "username",
    "password",
    "usernameFile",
    "passwordFile",
    "fromDocker",
    "proxy",
    "ca",
];

/// What a comment line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comment {
    /// Words about what stands below it.
    Prose,
    /// The heading of the list.
    Heading,
    /// One field that was taken out.
    Field,
    /// A line of a whole entry that was taken out.
    Entry,
}

/// An entry that was taken out, as far as it has been read.
struct Open {
    /// Where the comment marks of its lines stand.
    mark: usize,
    /// Lines that begin from here on are its own.
    inside: usize,
}

/// What each of these lines is; `None` where it is no comment.
pub(super) fn comments<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Option<Comment>> {
    let mut open: Option<Open> = None;
    let kind = |line: &str| {
        let line = line.trim_end();
        let mark = line.len() - line.trim_start().len();
        let Some(text) = line[mark..].strip_prefix('#').map(str::trim_start) else {
            open = None;
            return None;
        };
        let column = line.len() - text.len();
        if let Some(inside) = entry(text) {
            open = Some(Open { mark, inside: column + inside });
            return Some(Comment::Entry);
        }
        let closes = |open: &Open| text.starts_with(['}', ']']) && column + 1 >= open.inside;
        if open
            .as_ref()
            .is_some_and(|open| open.mark == mark && (column >= open.inside || text.is_empty() || closes(open)))
        {
            return Some(Comment::Entry);
        }
        open = None;
        Some(match text {
            LIST_HEADING => Comment::Heading,
            _ if is_field(text) => Comment::Field,
            _ => Comment::Prose,
        })
    };
    lines.map(kind).collect()
}

/// Where what belongs to an entry begins, if the text begins one; counted from the text's own beginning.
fn entry(text: &str) -> Option<usize> {
    let in_brackets = |text: &str| {
        let inside = text.strip_prefix('{').map(str::trim_start);
        inside.is_some_and(|inside| inside.is_empty() || is_field(inside))
    };
    if in_brackets(text) {
        return Some(1);
    }
    let rest = text.strip_prefix('-')?;
    let item = rest.trim_start();
    if item.is_empty() {
        return Some(1);
    }
    let gap = rest.len() - item.len();
    let begins = is_field(item) || in_brackets(item) || item.starts_with(['&', '*']);
    // A dash without a space begins no item, and one before words is a bullet.
    (gap > 0 && begins).then_some(if is_field(item) { 1 + gap } else { 1 })
}

/// Whether it is `name: value` or `"name":value` with a name that entries have.
fn is_field(text: &str) -> bool {
    let bare = text.trim_start_matches(['"', '\'']);
    let quoted = bare.len() < text.len();
    let after = FIELDS.iter().find_map(|field| bare.strip_prefix(field));
    let value = after.and_then(|after| after.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':'));
    value.is_some_and(|value| quoted || value.is_empty() || value.starts_with(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a line: what it is.
    fn read(text: &str) -> String {
        let letter = |comment: &Option<Comment>| match comment {
            None => '.',
            Some(Comment::Prose) => 'p',
            Some(Comment::Heading) => 'h',
            Some(Comment::Field) => 'f',
            Some(Comment::Entry) => 'e',
        };
        comments(text.lines()).iter().map(letter).collect()
    }

    #[test]
    fn words_are_words_also_with_bullets_and_colons() {
        for words in [
            "# the hub",
            "#the hub",
            "# note: [",
            "# - a reason",
            "# -- a line",
            "# ----",
            "#",
            "## Hub",
            "# host:port of the proxy",
            "# {braces}",
            "# ports: many",
        ] {
            assert_eq!(read(words), "p", "{words}");
        }
    }

    #[test]
    fn an_entry_that_was_taken_out_goes_on_as_far_as_it_is_indented() {
        assert_eq!(read("# - host: a.example\n#   upstream: https://a.example\n# about b\n- host: b"), "eep.");
        assert_eq!(read("#- host: a.example\n#  upstream: https://a.example\n# about b"), "eep");
        assert_eq!(read("#      - host: a.example\n#        credentials:\n#          username: x"), "eee");
        assert_eq!(read("#    -   upstream: https://a.example\n#        host: a.example\n#    words"), "eep");
        assert_eq!(read("# -\n#   host: a.example\n#\n# words"), "eeep");
        assert_eq!(read("# - {host: a.example, upstream: x}\n# words"), "ep");
        assert_eq!(read("# - {host: a.example,\n#    upstream: x}\n# words"), "eep");
        assert_eq!(read("# {\n#   host: a.example\n# },\n# words"), "eeep");
        assert_eq!(read("# {\"host\":\"a.example\"},"), "e");
        assert_eq!(read("# - <<: *base\n# - *base\n# - &base {}"), "pee");
        assert_eq!(read("# - host: a.example\n#   # not yet\r\n  # words"), "eep");
    }

    #[test]
    fn a_field_and_the_heading_are_told_apart_from_words() {
        assert_eq!(read("# port: 5001\n#ttl: 1h\n# 'host' : x\n# \"port\":1"), "ffff");
        assert_eq!(read(&format!("# {LIST_HEADING}\r\n# {LIST_HEADING} Really.")), "hp");
    }
}
