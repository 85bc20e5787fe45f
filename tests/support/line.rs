//! A line that carries so much a second, and behind which whoever comes has to wait: as on a home connection that a
//! pull has filled.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What goes onto the line at once.
const PIECE: usize = 64 * 1024;

/// Everything that is given to it passes in the order in which it comes.
pub(crate) struct Line {
    bytes_a_second: usize,
    /// What each connection may have waiting in the queue.
    ahead: usize,
    /// When all that waits has passed.
    free_at: Mutex<Instant>,
}

impl Line {
    pub(crate) fn new(bytes_a_second: usize, ahead: usize) -> Self {
        Self { bytes_a_second, ahead, free_at: Mutex::new(Instant::now()) }
    }

    fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_micros((bytes * 1_000_000 / self.bytes_a_second) as u64)
    }

    /// Takes a place at the end of the queue: when its turn begins.
    fn reserve(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().expect("nobody panics with it");
        let begins = (*free_at).max(Instant::now());
        *free_at = begins + self.time_for(bytes);
        begins
    }
}

/// What is written to it reaches a client over the line.
pub(super) struct Passing<'a> {
    line: &'a Line,
    client: &'a TcpStream,
    waiting: Vec<u8>,
}

impl<'a> Passing<'a> {
    pub(super) fn over(line: &'a Line, client: &'a TcpStream) -> Self {
        Self { line, client, waiting: Vec::new() }
    }
}

impl Write for Passing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= self.line.ahead {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    /// Passes what waits.
    fn flush(&mut self) -> io::Result<()> {
        let begins = self.line.reserve(self.waiting.len());
        for (place, piece) in std::mem::take(&mut self.waiting).chunks(PIECE).enumerate() {
            let at = begins + self.line.time_for(place * PIECE);
            sleep(at.saturating_duration_since(Instant::now()));
            let mut client = self.client;
            client.write_all(piece)?;
        }
        Ok(())
    }
}
