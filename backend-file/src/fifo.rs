//! What is written to the file of an entry: its label, and at the end what its owner knew of those ahead.
//!
//! It is a FIFO, from which nobody ever takes anything: whoever reads looks at a copy. Elsewhere than on Linux it is a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use lockcore::Entry;
use rustix::io::{Errno, pread};

use crate::ahead::Ahead;

/// What a FIFO takes at once, so that nobody sees a part of it.
const PAGE: usize = 4096;

/// Writes the label of an entry.
pub(crate) fn write_label(mut file: &File, label: &str) -> io::Result<()> {
    file.write_all(format!("{}\n{label}", label.len()).as_bytes())
}

/// Tells those who wait for an entry that it is gone, and what its owner knew of those ahead. A waiter who misses that looks for
/// itself.
pub(crate) fn write_departure(file: &File, ahead: &Ahead) {
    write(file, &ahead.text().unwrap_or_else(|| NOTHING.to_owned()));
}

/// Tells those who wait for an entry that somebody else removed it.
pub(crate) fn ring(file: &File) {
    write(file, NOTHING);
}

/// Wakes, and says nothing.
const NOTHING: &str = "\n";

fn write(mut file: &File, text: &str) {
    if let Err(error) = file.write(text.as_bytes()) {
        tracing::debug!(%error, "those who wait are not told");
    }
}

/// What was written to the file of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) label: String,
    /// What its owner knew of those ahead when it left.
    pub(crate) departure: Option<Ahead>,
}

/// Looks at what was written to files of entries.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What is looked at goes through it, and nothing is left in it.
    #[cfg(target_os = "linux")]
    pipe: (OwnedFd, OwnedFd),
}

impl Reader {
    /// What was written to the file of an entry until now.
    pub(crate) fn written(&self, file: impl AsFd) -> io::Result<Written> {
        // It was written in two pieces.
        let mut pages = [0; 2 * PAGE];
        let length = self.copy(file, &mut pages)?;
        Ok(parse(&pages[..length]).unwrap_or_default())
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};

        Ok(Self { pipe: pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)? })
    }

    #[cfg(target_os = "linux")]
    fn copy(&self, file: impl AsFd, pages: &mut [u8]) -> Result<usize, Errno> {
        use rustix::pipe::{SpliceFlags, tee};

        let (ours, copied) = &self.pipe;
        match tee(&file, copied, pages.len(), SpliceFlags::NONBLOCK) {
            Ok(_) => rustix::io::read(ours, pages),
            // Nothing is there yet.
            Err(Errno::AGAIN) => Ok(0),
            // Somebody put another kind of file in its place.
            Err(Errno::INVAL) => pread(file, pages, 0),
            Err(errno) => Err(errno),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(target_os = "linux"))]
    fn copy(&self, file: impl AsFd, pages: &mut [u8]) -> Result<usize, Errno> {
        pread(file, pages, 0)
    }
}

fn parse(bytes: &[u8]) -> Option<Written> {
    let digits = bytes.iter().position(|byte| *byte == b'\n')?;
    let length: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (label, departure) = bytes[digits + 1..].split_at_checked(length.min(Entry::MAX_TEXT))?;
    let departure = std::str::from_utf8(departure).ok().and_then(Ahead::parse);
    Some(Written { label: String::from_utf8_lossy(label).into_owned(), departure })
}
