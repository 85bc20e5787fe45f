//! What may leave the program as text: nothing in it steers a terminal, and no URL in what it says holds a password.
//!
//! Engines, registries, programs, labels and files are quoted in what ksail says. Everything that is printed passes
//! [`printable`] or [`printable_message`], once, on its way out.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// The text with every character that a terminal obeys written out as `\u001b`, which JSON and YAML read back.
///
/// Line ends, with their carriage return where they have one, and tabs are kept.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !steers(text) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        if is_obeyed(text, at, c) {
            // Writing to a string does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same of something that is told, and that may quote a URL: see [`without_user_info`].
pub fn printable_message(text: &str) -> String {
    printable(&without_user_info(text)).into_owned()
}

/// The text with every character that a terminal obeys replaced by as many `?` as it has bytes, so that everything else
/// stays at its place. Those of ASCII are left to annotate-snippets, which draws them (`␛`).
pub(crate) fn printable_in_place(text: &str) -> String {
    let is_kept = |at, c: char| c.is_ascii() || !is_obeyed(text, at, c);
    let replaced = |(at, c): (usize, char)| if is_kept(at, c) { c.to_string() } else { "?".repeat(c.len_utf8()) };
    text.char_indices().map(replaced).collect()
}

fn steers(text: &str) -> bool {
    text.char_indices().any(|(at, c)| is_obeyed(text, at, c))
}

/// Whether a terminal does something else with the character at this place than show it, line ends and tabs apart: the C0
/// and C1 control characters, and those that turn the direction of what follows (Unicode's bidirectional controls), by
/// which a line reads other than it is.
fn is_obeyed(text: &str, at: usize, c: char) -> bool {
    let steers = c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    steers && !matches!(c, '\n' | '\t') && !text[at..].starts_with("\r\n")
}

/// The text with what may be secret in its URLs covered byte for byte: `user:password@`, `token@` before a host that is
/// asked over HTTP, and everything after a `?`. References to variables are kept.
pub fn without_user_info(text: &str) -> Cow<'_, str> {
    let ranges = words(text).flat_map(|word| secrets(text, word));
    ranges.fold(Cow::Borrowed(text), |mut shown, range| {
        cover(shown.to_mut(), range);
        shown
    })
}

/// The same for a text that is one value: a password in it may hold spaces and quotes.
pub(crate) fn value_without_user_info(value: &str) -> String {
    secrets(value, 0..value.len()).fold(value.to_owned(), |mut shown, range| {
        cover(&mut shown, range);
        shown
    })
}

/// Covers a part of a text with `*`, byte for byte; keeps `${NAME}`, quotes, a flow mapping's braces, and white space.
pub(crate) fn cover(text: &mut String, range: Range<usize>) {
    let mut shown = String::with_capacity(range.len());
    let mut rest = &text[range.clone()];
    while let Some(first) = rest.chars().next() {
        let name = rest
            .strip_prefix("${")
            .map_or(0, |inside| inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len()));
        if name > 0 {
            let kept = &rest[..2 + name];
            shown.push_str(kept);
            rest = &rest[2 + name..];
            for mark in ["}", ":-"] {
                if let Some(tail) = rest.strip_prefix(mark) {
                    shown.push_str(mark);
                    rest = tail;
                    break;
                }
            }
            continue;
        }
        if first.is_whitespace() || matches!(first, '"' | '\'' | '{' | '}') {
            shown.push(first);
        } else {
            shown.extend(std::iter::repeat_n('*', first.len_utf8()));
        }
        rest = &rest[first.len_utf8()..];
    }
    text.replace_range(range, &shown);
}

/// Where words begin and end: at white space, quotes, and the control characters of a style.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_between = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(|c| !is_between(c))?;
        from = text[start..].find(is_between).map_or(text.len(), |length| start + length);
        Some(start..from)
    })
}

/// What is secret in a word of a text.
pub(crate) fn secrets(text: &str, word: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let start = word.start;
    let word = &text[word];
    let is_scheme = |before: &&str| !before.contains(':');
    let scheme = word.find("://").map(|at| &word[..at]).filter(is_scheme).map(|before| (before, before.len() + 3));
    let is_http = scheme.is_some_and(|(before, _)| before.ends_with("http") || before.ends_with("https"));
    // Without a scheme it may be the value of `HOST=UPSTREAM`.
    let begins = scheme.map_or_else(|| word.find('=').map_or(0, |at| at + 1), |(_, after)| after);
    let user = user_info(word, begins).filter(|user| is_http || word[user.clone()].contains(':'));
    let after_user = user.as_ref().map_or(begins, |user| user.end);
    // `:?` is of a shell's reference to a variable.
    let query = scheme.and(word[after_user..].find('?')).map(|at| after_user + at + 1);
    let query = query.filter(|at| !word[..*at].ends_with(":?")).map(|at| at..word.len());
    user.into_iter().chain(query).map(move |range| start + range.start..start + range.end)
}

/// Up to the last `@`; the one before a digest is of an image.
fn user_info(word: &str, start: usize) -> Option<Range<usize>> {
    let before_digest = ["@sha256:", "@sha512:"].iter().filter_map(|mark| word.rfind(mark)).max();
    let end = word[start..before_digest.unwrap_or(word.len()).max(start)].rfind('@')?;
    Some(start..start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(
            printable("boom \u{1b}]0;title\u{7} \u{9b}31m \u{7f}"),
            "boom \\u001b]0;title\\u0007 \\u009b31m \\u007f"
        );
        assert_eq!(printable("over\rwritten"), "over\\u000dwritten");
        assert_eq!(printable("\u{202e}nrut"), "\\u202enrut");
    }

    #[test]
    fn line_ends_tabs_and_every_other_language_stay() {
        for text in ["one\ttwo\nthree\n", "dos\r\nlines\r\n", "größer … 日本語 🦀"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_out_reads_back_from_json() {
        let foreign = "\u{9b}31m \u{202e}";
        let document = serde_json::json!({ "message": foreign }).to_string();
        assert!(!steers(&printable(&document)));
        let back: serde_json::Value = serde_json::from_str(&printable(&document)).unwrap();
        assert_eq!(back["message"], foreign);
    }

    #[test]
    fn replaced_in_place_everything_else_keeps_its_place() {
        assert_eq!(printable_in_place("a\u{9b}b\u{202e}c\r\n"), "a??b???c\r\n");
    }

    #[test]
    fn no_password_in_a_url_is_shown_by_whatever_it_is_quoted_in() {
        let shown = |text: &str| without_user_info(text).into_owned();
        assert_eq!(shown("docker.io=https://user:secret@hub.test"), "docker.io=https://***********@hub.test");
        assert_eq!(
            shown("invalid value 'https://user:s/e?c=r@e:t@hub.test/x'"),
            "invalid value 'https://****************@hub.test/x'"
        );
        assert_eq!(shown("https://token@hub.test and http://a:b@c"), "https://*****@hub.test and http://***@c");
        assert_eq!(shown("docker.io=user:secret@hub.test"), "docker.io=***********@hub.test");
        assert_eq!(shown("user:secret@hub.test"), "***********@hub.test");
        assert_eq!(shown("https://hub.test/v2?token=secret#x"), "https://hub.test/v2?**************");
        assert_eq!(shown("tcp://user:secret@engine:2375"), "tcp://***********@engine:2375");
    }

    #[test]
    fn what_is_no_password_is_shown() {
        for text in [
            "ssh://me@engine",
            "docker.io/library/alpine@sha256:0123",
            "localhost:5000/app:1@sha256:0123",
            "https://${TOKEN}@hub.test",
            "https://registry-1.docker.io:443/",
            "mail me@example.org: what?",
        ] {
            assert_eq!(without_user_info(text), text);
        }
    }
}
