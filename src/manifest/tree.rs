//! The YAML of the file as a tree whose every node knows which bytes it was written with.
//!
//! `serde_yaml` decides what the file means; this tree says where, which `serde_yaml` does not tell.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

/// Nested deeper than any manifest, and shallow enough for recursion.
const DEPTH: usize = 64;

/// One value as written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its bytes, without anchor or tag; a block collection ends with its last child.
    pub(crate) span: Range<usize>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether it has an anchor.
    pub(crate) anchored: bool,
    /// Whether it has a tag.
    pub(crate) tagged: bool,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A text; `plain` when without quotes and not a block scalar.
    Scalar { text: String, style: ScalarStyle },
    /// A list.
    Sequence { flow: bool, items: Vec<Node> },
    /// Keys and values, in order, duplicates included.
    Mapping { flow: bool, entries: Vec<(Node, Node)> },
    /// `*name` and what it stands for.
    Alias(Rc<Node>),
}

/// Why there is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoTree {
    /// Byte the problem was seen at.
    pub(crate) at: usize,
    /// In words.
    pub(crate) reason: String,
}

impl Node {
    /// Reads one document; `None` when it has no content at all.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, NoTree> {
        Reader::new(text).document()
    }

    /// The node, or the one its alias stands for.
    pub(crate) fn target(&self) -> &Self {
        match &self.kind {
            Kind::Alias(target) => target.target(),
            _ => self,
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Key and value.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Self, Self)> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key))
    }

    /// The entries of a mapping, none for anything else.
    pub(crate) fn entries(&self) -> &[(Self, Self)] {
        match &self.target().kind {
            Kind::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a sequence, none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.target().kind {
            Kind::Sequence { items, .. } => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.target().kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is a collection in brackets.
    pub(crate) fn is_flow(&self) -> bool {
        matches!(&self.kind, Kind::Mapping { flow: true, .. } | Kind::Sequence { flow: true, .. })
    }

    /// Whether it is nothing: left out, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.target().kind, Kind::Scalar { text, style: ScalarStyle::Plain }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    /// Byte of every character: the parser counts characters.
    bytes: Vec<usize>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
        Self { text, events: Parser::new_from_str(text), bytes, anchors: HashMap::new() }
    }

    fn document(mut self) -> Result<Option<Node>, NoTree> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(None),
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                event => return self.node(event, span, 0).map(Some),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), NoTree> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.no_tree(&error)),
            None => Err(NoTree { at: self.text.len(), reason: "the file ends too early".to_owned() }),
        }
    }

    fn no_tree(&self, error: &ScanError) -> NoTree {
        NoTree { at: self.byte(error.marker().index()), reason: error.info().to_owned() }
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.byte(span.start.index())..self.byte(span.end.index())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, NoTree> {
        let span = self.range(span);
        if depth > DEPTH {
            return Err(NoTree { at: span.start, reason: format!("nested more than {DEPTH} levels deep") });
        }
        let (anchor, node) = match event {
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    return Err(NoTree { at: span.start, reason: "an alias inside what it stands for".to_owned() });
                };
                (0, Node { span, kind: Kind::Alias(Rc::clone(target)), anchored: false, tagged: false })
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::Scalar { text: text.into_owned(), style };
                let span = self.without_properties(span, anchor != 0 || tag.is_some());
                let span = span.start..self.quoted_end(span.start, style).unwrap_or(span.end);
                (anchor, Node { span, kind, anchored: anchor != 0, tagged: tag.is_some() })
            }
            Event::SequenceStart(anchor, tag) => {
                let start = self.without_properties(span, anchor != 0 || tag.is_some()).start;
                let mut items = Vec::new();
                let end = loop {
                    match self.next()? {
                        (Event::SequenceEnd, span) => break self.range(span),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                };
                let (flow, span) = self.collection(start, '[', &end, items.last().map(|item| item.span.end));
                (
                    anchor,
                    Node { span, kind: Kind::Sequence { flow, items }, anchored: anchor != 0, tagged: tag.is_some() },
                )
            }
            Event::MappingStart(anchor, tag) => {
                let start = self.without_properties(span, anchor != 0 || tag.is_some()).start;
                let mut entries = Vec::new();
                let end = loop {
                    match self.next()? {
                        (Event::MappingEnd, span) => break self.range(span),
                        (event, span) => {
                            let key = self.node(event, span, depth + 1)?;
                            let (event, span) = self.next()?;
                            let value = self.node(event, span, depth + 1)?;
                            entries.push((key, value));
                        }
                    }
                };
                let last = entries.last().map(|(key, value)| value.span.end.max(key.span.end));
                let (flow, span) = self.collection(start, '{', &end, last);
                (
                    anchor,
                    Node { span, kind: Kind::Mapping { flow, entries }, anchored: anchor != 0, tagged: tag.is_some() },
                )
            }
            _ => return Err(NoTree { at: span.start, reason: "a value is missing".to_owned() }),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        Ok(node)
    }

    fn collection(&self, start: usize, open: char, end: &Range<usize>, last: Option<usize>) -> (bool, Range<usize>) {
        if self.text[start..].starts_with(open) {
            // The parser lets this event end after a comment behind the bracket.
            return (true, start..end.start + 1);
        }
        (false, start..last.unwrap_or(start))
    }

    /// The byte after the closing quote: the parser lets a quoted scalar end after the space and comment behind it.
    fn quoted_end(&self, start: usize, style: ScalarStyle) -> Option<usize> {
        let quote = match style {
            ScalarStyle::SingleQuoted => '\'',
            ScalarStyle::DoubleQuoted => '"',
            _ => return None,
        };
        let mut characters = self.text[start + 1..].char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            let doubled = c == '\'' && quote == c && characters.peek().is_some_and(|(_, next)| *next == quote);
            if doubled || (c == '\\' && quote == '"') {
                characters.next();
            } else if c == quote {
                return Some(start + 1 + at + 1);
            }
        }
        None
    }

    /// The parser's spans begin with anchor and tag; the value comes after them.
    fn without_properties(&self, span: Range<usize>, properties: bool) -> Range<usize> {
        let mut start = span.start;
        while properties && self.text[start..span.end.max(start)].starts_with(['&', '!']) {
            let rest = &self.text[start..];
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let gap = rest[word..].find(|c: char| !c.is_whitespace()).unwrap_or(0);
            start += word + gap;
        }
        start..span.end.max(start)
    }
}

/// The text up to where nothing but empty documents follows: a `---` at the end begins one.
pub(crate) fn without_empty_documents(text: &str) -> &str {
    if !text.contains("\n---") {
        return text;
    }
    let mut starts = 0;
    let mut end = None;
    for event in Parser::new_from_str(text) {
        match event {
            Ok((Event::DocumentStart(_), span)) => {
                starts += 1;
                if starts == 2 {
                    end = text.char_indices().nth(span.start.index()).map(|(byte, _)| byte);
                }
            }
            Ok((Event::Scalar(content, ScalarStyle::Plain, 0, None), _))
                if matches!(content.as_ref(), "" | "~" | "null") => {}
            Ok((Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing, _)) => {}
            Ok(_) if starts < 2 => {}
            _ => return text,
        }
    }
    end.map_or(text, |end| &text[..end])
}

/// Byte of the marker that begins a second document.
pub(crate) fn second_document(text: &str) -> Option<usize> {
    let mut starts = 0;
    for event in Parser::new_from_str(text) {
        match event.ok()? {
            (Event::DocumentStart(_), span) => {
                starts += 1;
                if starts == 2 {
                    return text.char_indices().nth(span.start.index()).map(|(byte, _)| byte);
                }
            }
            (Event::StreamEnd, _) => return None,
            _ => {}
        }
    }
    None
}
