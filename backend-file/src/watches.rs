//! Waits for the departure of another entry, by the FIFO that each entry is: the kernel makes the other end readable when the last
//! process that had it open for writing has closed it, or is gone. Whoever leaves without closing it writes to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, fstat};
use tokio::net::unix::pipe::Receiver;

/// The file of an entry, which becomes readable when its owner is gone.
#[derive(Debug)]
pub(crate) enum EntryWatch {
    Fifo(Receiver),
    /// Somebody put another kind of file in its place, which never becomes readable.
    Silent(File),
}

impl EntryWatch {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Fifo => Receiver::from_file(file).map(Self::Fifo),
            _ => Ok(Self::Silent(file)),
        }
    }

    pub(crate) fn can_wake(&self) -> bool {
        matches!(self, Self::Fifo(_))
    }

    /// Returns when the owner is gone, or the file cannot tell that any more.
    pub(crate) async fn woken(&self, is_gone: impl Fn() -> bool) {
        let Self::Fifo(fifo) = self else { return std::future::pending().await };
        // It is readable once for what the owner wrote at the beginning. If it is again, and the owner is there, it always will be.
        for _ in 0..2 {
            let waited = fifo.readable().await;
            if waited.is_err() || is_gone() {
                return;
            }
            // Nothing is taken from it. This makes tokio wait until there is more.
            let _ = fifo.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}

impl AsFd for EntryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Fifo(fifo) => fifo.as_fd(),
            Self::Silent(file) => file.as_fd(),
        }
    }
}
