//! How much is read of what others say. Whatever comes from outside (the engine, registries, programs, files) passes one
//! of these limits; each has its name here, and the reason for its figure.

use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use hyper::body::Body;

/// How much may be read of one kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    what: &'static str,
    bytes: usize,
    /// What to do when there is more.
    remedy: &'static str,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// An answer of the engine. A container takes three kilobytes in a list and ten by itself: enough for a list of twenty
/// thousand.
pub(crate) const ENGINE_ANSWER: Limit = Limit {
    what: "the engine's answer",
    bytes: 64 * MIB,
    remedy: "what listens there may not be an engine, see DOCKER_HOST and `docker context ls`",
};
/// One message of the engine where it sends a stream of them (events, lines of a pull). Most have less than a kilobyte; the
/// HTTP client may have read half a mebibyte ahead.
pub(crate) const ENGINE_MESSAGE: Limit =
    Limit { what: "a message of the engine", bytes: 2 * MIB, remedy: ENGINE_ANSWER.remedy };
/// Files of a container, packed and unpacked. A `hosts.toml` takes two kilobytes in an archive: enough for eight thousand,
/// with what others keep beside them.
pub(crate) const ARCHIVE: Limit = Limit {
    what: "what lies in that directory of the container",
    bytes: 16 * MIB,
    remedy: "something else than small text files is there: look with `docker exec`, and move it away",
};
/// Part of a container's log. What is written in some minutes is asked for at most: enough for a hundred
/// lines a second, of a kilobyte each.
pub(crate) const LOG: Limit = Limit {
    what: "the part of the container's log that was asked for",
    bytes: 16 * MIB,
    remedy: "look at it with `docker logs --tail 10`",
};
/// Bytes of a line of a container's log: Docker itself keeps longer ones in parts of this length.
pub(crate) const LOG_LINE: usize = 16 * KIB;
/// What a program in a container says. The longest answer is containerd's whole configuration, of some ten kilobytes.
pub(crate) const EXEC_OUTPUT: Limit = Limit {
    what: "what the program in the container says",
    bytes: 4 * MIB,
    remedy: "run it with `docker exec` to see what it says",
};
/// A line of kind or k3d. What they say of themselves fits a terminal; of what fails they show a line of somebody else's.
pub(crate) const PROGRAM_LINE: Limit =
    Limit { what: "a line of the program's output", bytes: 16 * KIB, remedy: "run it by itself to see all of it" };
/// An answer of a registry or its upstream. What is asked of them (`/v2/`, twenty names, a token) is a few kilobytes.
pub(crate) const REGISTRY_ANSWER: Limit =
    Limit { what: "the answer", bytes: MIB, remedy: "what listens there may not be a registry" };
/// A file that people write by hand, or a program for itself: a manifest of ten thousand mirrors has a mebibyte.
pub(crate) const FILE: Limit =
    Limit { what: "the file", bytes: 4 * MIB, remedy: "it may not be the one that is meant" };

/// There is more than may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    limit: Limit,
    /// Where that is.
    place: Option<String>,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { what, bytes, remedy } = self.limit;
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let (figure, unit) = if bytes < MIB { (bytes / KIB, "KiB") } else { (bytes / MIB, "MiB") };
        write!(f, "{what} is larger than {figure} {unit}, the most that ksail reads of it; {remedy}")
    }
}

impl std::error::Error for TooLarge {}

impl TooLarge {
    /// The same, with the place where it is.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { place: Some(place.to_owned()), ..self }
    }

    /// What an [`io::Error`] says that is one of these.
    pub(crate) fn in_error(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<TooLarge> for io::Error {
    fn from(error: TooLarge) -> Self {
        Self::other(error)
    }
}

impl Limit {
    /// How much it is.
    pub(crate) const fn bytes(self) -> usize {
        self.bytes
    }

    const fn too_large(self) -> TooLarge {
        TooLarge { limit: self, place: None }
    }

    /// Counts what is read.
    pub(crate) fn meter(self) -> Meter {
        Meter { limit: self, left: Arc::new(AtomicUsize::new(self.bytes)) }
    }

    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] in an [`io::Error`], or what reading gives.
    pub(crate) fn read(self, from: impl Read) -> io::Result<Vec<u8>> {
        self.meter().read(from)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// As [`Limit::read`].
    pub(crate) fn read_file(self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(File::open(path)?)
    }

    /// Reads a text to the end.
    ///
    /// # Errors
    ///
    /// As [`Limit::read`], and [`io::ErrorKind::InvalidData`] when it is not UTF-8.
    pub(crate) fn read_text(self, from: impl Read) -> io::Result<String> {
        String::from_utf8(self.read(from)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads a text file.
    ///
    /// # Errors
    ///
    /// As [`Limit::read_text`].
    pub(crate) fn read_text_file(self, path: impl AsRef<Path>) -> io::Result<String> {
        self.read_text(File::open(path)?)
    }

    /// Reads the body of an HTTP message to its end.
    ///
    /// # Errors
    ///
    /// [`TooLarge`], or what reading gives.
    pub(crate) async fn read_body<B>(self, body: B) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
    {
        let (mut whole, mut body) = (self.collect(), pin!(body));
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            if let Ok(data) = frame?.into_data() {
                whole.add(data.chunk())?;
            }
        }
        Ok(whole.bytes.into())
    }

    /// Collects what comes in parts.
    pub(crate) fn collect(self) -> Collected {
        Collected { meter: self.meter(), bytes: Vec::new() }
    }
}

/// Counts what is read against a limit. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    limit: Limit,
    left: Arc<AtomicUsize>,
}

impl Meter {
    /// So much was read.
    ///
    /// # Errors
    ///
    /// When that is more than may be; from then on it always is.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), TooLarge> {
        let spent = |left: usize| Some(left.checked_sub(bytes).unwrap_or(EXCEEDED)).filter(|_| left != EXCEEDED);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent) {
            Ok(left) if left >= bytes => Ok(()),
            _ => Err(self.limit.too_large()),
        }
    }

    /// Something else begins, of which as much may be read.
    pub(crate) fn refill(&self) {
        if self.exceeded().is_none() {
            self.left.store(self.limit.bytes, Ordering::Relaxed);
        }
    }

    /// That there was more, if there was.
    pub(crate) fn exceeded(&self) -> Option<TooLarge> {
        (self.left.load(Ordering::Relaxed) == EXCEEDED).then(|| self.limit.too_large())
    }

    /// Reads to the end, as far as it goes.
    ///
    /// # Errors
    ///
    /// As [`Limit::read`].
    pub(crate) fn read(&self, from: impl Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let left = self.left.load(Ordering::Relaxed);
        // One more shows that there is more.
        let room = if left == EXCEEDED { 0 } else { left as u64 };
        from.take(room + 1).read_to_end(&mut bytes)?;
        self.spend(bytes.len())?;
        Ok(bytes)
    }
}

/// No limit is this large.
const EXCEEDED: usize = usize::MAX;

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Collected {
    meter: Meter,
    bytes: Vec<u8>,
}

impl Collected {
    /// More has come.
    ///
    /// # Errors
    ///
    /// When it is too much.
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        self.meter.spend(part.len())?;
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// All of it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limit = Limit { what: "the line", bytes: 2 * KIB, remedy: "cut it" };

    #[test]
    fn as_much_as_the_limit_is_read_and_one_byte_more_says_what_was_too_large_and_what_to_do() {
        assert_eq!(SMALL.read(&[b'x'; 2 * KIB][..]).unwrap().len(), 2 * KIB);
        let error = SMALL.read(&[b'x'; 2 * KIB + 1][..]).unwrap_err();
        assert_eq!(error.to_string(), "the line is larger than 2 KiB, the most that ksail reads of it; cut it");
    }

    #[test]
    fn what_never_ends_is_read_up_to_the_limit() {
        assert!(SMALL.read(io::repeat(b'x')).is_err());
        assert!(FILE.read_file(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn what_was_too_large_once_stays_so() {
        let meter = SMALL.meter();
        assert!(meter.spend(2 * KIB).is_ok() && meter.exceeded().is_none());
        meter.refill();
        assert!(meter.spend(2 * KIB).is_ok() && meter.spend(1).is_err());
        meter.refill();
        assert!(meter.spend(0).is_err() && meter.read(&b"x"[..]).is_err() && meter.exceeded().is_some());
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit() {
        let body = |length| http_body_util::Full::new(Bytes::from(vec![b'x'; length]));
        assert_eq!(SMALL.read_body(body(2 * KIB)).await.unwrap().len(), 2 * KIB);
        assert!(SMALL.read_body(body(2 * KIB + 1)).await.unwrap_err().to_string().contains("2 KiB"));
    }
}
