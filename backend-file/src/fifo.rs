//! What is written to the file of an entry: its label, and at the end what its owner knew of those ahead.
//!
//! It is a FIFO, from which nobody ever takes anything: whoever reads looks at a copy. Elsewhere than on Linux it is a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

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
pub(crate) fn write_departure(mut file: &File, ahead: &Ahead) {
    if let Err(error) = file.write(ahead.text().unwrap_or_else(|| "\n".to_owned()).as_bytes()) {
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

/// What was written to the file of an entry until now.
pub(crate) fn written(file: impl AsFd) -> io::Result<Written> {
    // It was written in two pieces.
    let mut pages = [0; 2 * PAGE];
    let length = copy(file, &mut pages)?;
    Ok(parse(&pages[..length]).unwrap_or_default())
}

fn parse(bytes: &[u8]) -> Option<Written> {
    let digits = bytes.iter().position(|byte| *byte == b'\n')?;
    let length: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (label, departure) = bytes[digits + 1..].split_at_checked(length.min(Entry::MAX_TEXT))?;
    let departure = std::str::from_utf8(departure).ok().and_then(Ahead::parse);
    Some(Written { label: String::from_utf8_lossy(label).into_owned(), departure })
}

#[cfg(target_os = "linux")]
fn copy(file: impl AsFd, page: &mut [u8]) -> Result<usize, Errno> {
    use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

    let (ours, copied) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    match tee(&file, copied, page.len(), SpliceFlags::NONBLOCK) {
        Ok(_) => rustix::io::read(ours, page),
        // Nothing is there yet.
        Err(Errno::AGAIN) => Ok(0),
        // Somebody put another kind of file in its place.
        Err(Errno::INVAL) => pread(file, page, 0),
        Err(errno) => Err(errno),
    }
}

#[cfg(not(target_os = "linux"))]
fn copy(file: impl AsFd, page: &mut [u8]) -> Result<usize, Errno> {
    pread(file, page, 0)
}
