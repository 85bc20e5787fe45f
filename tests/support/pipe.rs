//! A pipe that nobody reads.

use std::io::{ErrorKind, PipeReader, PipeWriter, Write, pipe};

use rustix::io::ioctl_fionbio;

/// Both ends of a pipe that takes no further byte until somebody reads.
pub(crate) fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("a pipe can be non-blocking");
    // Byte by byte at the end, when there is no room for a page.
    for size in [4096, 1] {
        let refused = loop {
            if let Err(error) = writer.write(&vec![b'\n'; size]) {
                break error;
            }
        };
        assert_eq!(refused.kind(), ErrorKind::WouldBlock, "it is full");
    }
    ioctl_fionbio(&writer, false).expect("a pipe can be blocking");
    (reader, writer)
}
