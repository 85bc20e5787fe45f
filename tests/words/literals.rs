//! The texts in Rust's sources that a program can say.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};

/// A text and the file it is in, below `src/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Said {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Every text of prose in the sources, in their order. Those of the engine in memory are left out, which no program has.
pub(crate) fn all() -> Vec<Said> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut said = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let is_test = file.ends_with("tests.rs") || file.contains("/tests/");
        if is_test || file.starts_with("engine/memory") {
            continue;
        }
        let tokens = TokenStream::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let texts = texts(tokens).into_iter().filter(|text| is_prose(text));
        said.extend(texts.map(|text| Said { file: file.clone(), text }));
    }
    said
}

pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Two words at least: names, keys and formats say nothing.
fn is_prose(text: &str) -> bool {
    let is_word = |word: &&str| word.chars().filter(char::is_ascii_lowercase).count() > 1 && !word.contains(['{', '}']);
    text.split_whitespace().filter(is_word).count() > 1
}

/// All texts but those of attributes that are for people who read the code, and of tests.
pub(crate) fn texts(tokens: TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut skips_item = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if matches!(tokens.peek(), Some(TokenTree::Punct(bang)) if bang.as_char() == '!') {
                    tokens.next();
                }
                let Some(TokenTree::Group(attribute)) = tokens.next() else { continue };
                let inside = attribute.stream().to_string();
                skips_item |= inside.replace(' ', "").starts_with("cfg(test)");
                if ["error", "arg"].iter().any(|told| inside.starts_with(told)) {
                    texts.extend(self::texts(attribute.stream()));
                }
            }
            TokenTree::Group(group) => {
                let ends_item = group.delimiter() == Delimiter::Brace;
                if !skips_item {
                    texts.extend(self::texts(group.stream()));
                }
                skips_item &= !ends_item;
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => skips_item = false,
            TokenTree::Literal(literal) if !skips_item => texts.extend(text(&literal)),
            _ => {}
        }
    }
    texts
}

/// What a string literal says, as it is written: `\n` stays two characters.
fn text(literal: &Literal) -> Option<String> {
    let written = literal.to_string();
    let raw = written.strip_prefix('r').map(|raw| raw.trim_matches('#'));
    let inside = raw.unwrap_or(&written).strip_prefix('"')?.strip_suffix('"')?;
    // A backslash at the end of a line joins it with the next.
    let mut lines = inside.split("\\\n");
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()))
}

#[test]
fn a_text_is_found_where_it_is_said_and_nowhere_else() {
    let source = r##"
        /// Doc text of this.
        #[error("it is {broken} here")]
        #[expect(clippy::all, reason = "for who reads")]
        fn f() -> char { let x = "plain text here"; write!(f, r#"raw "text" here"#); 'c' }
        #[cfg(test)]
        mod tests { fn g() { "not this one" } }
        #[cfg(test)]
        use a::b;
        const AFTER: &str = "joined \
            line here";
    "##;
    let found = texts(TokenStream::from_str(source).unwrap());
    let expected = ["it is {broken} here", "plain text here", "raw \"text\" here", "joined line here"];
    assert_eq!(found, expected);
}
