//! HTTP/1.1 as it passes by, message by message.

use std::io::{BufRead, Read, Write};

/// The first line of a message and its headers, byte by byte as they came.
pub(super) struct Head {
    lines: Vec<Vec<u8>>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// After so many bytes.
    Length(u64),
    /// After an empty chunk.
    Chunks,
    /// With the connection.
    UntilClosed,
}

impl Head {
    /// `None` when nobody will say more.
    pub(super) fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let line = read_line(from)?;
            let is_last = line.trim_ascii().is_empty();
            lines.push(line);
            if is_last {
                return Some(Self { lines });
            }
        }
    }

    pub(super) fn write(&self, to: &mut impl Write) -> Option<()> {
        to.write_all(&self.lines.concat()).ok()
    }

    /// The words of the first line.
    pub(super) fn words(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.lines[0]).split_whitespace().map(str::to_owned).collect()
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.words().get(1)?.parse().ok()
    }

    /// A header's value in small letters.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.lines.iter().find_map(|line| value_of(line, name))
    }

    /// What the headers say of the body, if they say that there is one.
    pub(super) fn body(&self) -> Option<Body> {
        if self.header("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
            return Some(Body::Chunks);
        }
        Some(Body::Length(self.header("content-length")?.parse().ok()?))
    }

    /// The same before a body of another length.
    pub(super) fn before(mut self, length: usize) -> Self {
        self.lines
            .retain(|line| ["transfer-encoding", "content-length"].iter().all(|name| value_of(line, name).is_none()));
        self.lines.insert(1, format!("Content-Length: {length}\r\n").into_bytes());
        self
    }
}

fn value_of(line: &[u8], name: &str) -> Option<String> {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    let (key, value) = line.split_once(':')?;
    (key == name).then(|| value.trim().to_owned())
}

impl Body {
    /// Forwards all of it as it comes.
    pub(super) fn forward(self, from: &mut impl BufRead, to: &mut impl Write) -> Option<()> {
        match self {
            Self::Length(length) => std::io::copy(&mut from.take(length), to).ok().filter(|n| *n == length).map(drop),
            Self::UntilClosed => std::io::copy(from, to).ok().map(drop),
            Self::Chunks => loop {
                let chunk = Chunk::read(from)?;
                to.write_all(&[chunk.size.as_slice(), &chunk.content, b"\r\n"].concat()).ok()?;
                if chunk.content.is_empty() {
                    return Some(());
                }
            },
        }
    }

    /// What is in it.
    pub(super) fn read(self, from: &mut impl BufRead) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let Self::Chunks = self else { return self.forward(from, &mut content).map(|()| content) };
        loop {
            let chunk = Chunk::read(from)?;
            if chunk.content.is_empty() {
                return Some(content);
            }
            content.extend(chunk.content);
        }
    }
}

struct Chunk {
    /// The line before it.
    size: Vec<u8>,
    content: Vec<u8>,
}

impl Chunk {
    fn read(from: &mut impl BufRead) -> Option<Self> {
        let size = read_line(from)?;
        let text = String::from_utf8_lossy(&size);
        let length = usize::from_str_radix(text.trim().split(';').next()?, 16).ok()?;
        let mut content = vec![0; length + 2];
        from.read_exact(&mut content).ok()?;
        content.truncate(length);
        Some(Self { size, content })
    }
}

fn read_line(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).ok().filter(|_| line.ends_with(b"\n"))?;
    Some(line)
}
