//! Other contents for an open file, in an order that makes the likely failure harmless.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// What is written over: a file, or something that fails like one.
pub(super) trait Disk: Write + Seek {
    /// Makes it that long.
    fn set_len(&mut self, length: u64) -> io::Result<()>;
    /// Waits until it is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// How far it came when it failed.
#[derive(Debug)]
pub(super) enum Overwritten {
    /// It holds what it held.
    Not(io::Error),
    /// It may hold some of both.
    Half(io::Error),
}

/// Writes `after` over `before`: what makes it longer first, as that is what a full disk refuses. After a failure the old
/// contents are put back.
pub(super) fn overwrite(disk: &mut impl Disk, before: &[u8], after: &[u8]) -> Result<(), Overwritten> {
    let Err(error) = write(disk, before.len().min(after.len()), after) else { return Ok(()) };
    match write(disk, before.len(), before) {
        Ok(()) => Err(Overwritten::Not(error)),
        Err(_) => Err(Overwritten::Half(error)),
    }
}

fn write(disk: &mut impl Disk, from: usize, contents: &[u8]) -> io::Result<()> {
    let (beginning, end) = contents.split_at(from);
    // A file in memory has at most as many bytes as fit into 64 bits.
    for (at, part) in [(from as u64, end), (0, beginning)] {
        if !part.is_empty() {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(part)?;
        }
    }
    disk.set_len(contents.len() as u64)?;
    disk.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many calls that write before it fails, for so many of them.
    #[derive(Debug)]
    struct Failing {
        held: io::Cursor<Vec<u8>>,
        works: usize,
        fails: usize,
    }

    impl Failing {
        fn call(&mut self) -> io::Result<()> {
            match (self.works, self.fails) {
                (0, 0) => Ok(()),
                (0, _) => {
                    self.fails -= 1;
                    Err(io::Error::other("failing"))
                }
                _ => {
                    self.works -= 1;
                    Ok(())
                }
            }
        }
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.call()?;
            // A few bytes at a time, as a disk that fills up takes them.
            self.held.write(&bytes[..bytes.len().min(3)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.held.seek(to)
        }
    }

    impl Disk for Failing {
        fn set_len(&mut self, length: u64) -> io::Result<()> {
            self.call()?;
            self.held.get_mut().resize(usize::try_from(length).unwrap(), 0);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.call()
        }
    }

    const CONTENTS: [&[u8]; 4] = [b"", b"short", b"something longer", b"something longer than that by far"];

    fn over(before: &[u8], after: &[u8], works: usize, fails: usize) -> (Result<(), Overwritten>, Vec<u8>) {
        let mut disk = Failing { held: io::Cursor::new(before.to_vec()), works, fails };
        let outcome = overwrite(&mut disk, before, after);
        (outcome, disk.held.into_inner())
    }

    #[test]
    fn it_holds_the_new_contents_and_no_more() {
        for before in CONTENTS {
            for after in CONTENTS {
                let (outcome, held) = over(before, after, usize::MAX, 0);
                assert!(outcome.is_ok() && held == after);
            }
        }
    }

    #[test]
    fn a_failure_at_any_point_leaves_the_old_contents_or_says_that_it_did_not() {
        for (before, after) in CONTENTS.into_iter().flat_map(|before| CONTENTS.map(|after| (before, after))) {
            for works in 0..40 {
                match over(before, after, works, 1) {
                    (Ok(()), held) => assert_eq!(held, after),
                    (Err(Overwritten::Not(_)), held) => assert_eq!(held, before, "{works}"),
                    (Err(Overwritten::Half(error)), _) => panic!("{error}: it could have been put back"),
                }
                match over(before, after, works, usize::MAX) {
                    (Ok(()), held) => assert_eq!(held, after),
                    (outcome, _) => assert!(matches!(outcome, Err(Overwritten::Half(_)))),
                }
            }
        }
    }

    #[test]
    fn a_disk_that_is_full_is_noticed_before_anything_is_written_over() {
        for works in 0..4 {
            let (outcome, held) = over(b"before", b"afterwards, longer", works, usize::MAX);
            assert!(matches!(outcome, Err(Overwritten::Half(_))));
            assert!(held.starts_with(b"before"), "{works}");
        }
    }
}
