//! Wake-ups by the FIFO that an entry is: the kernel tells its other end when the last who had it open for writing is gone,
//! however that ended. Whoever leaves in another way writes to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, fstat};
use tokio::net::unix::pipe::Receiver;

/// The file of an entry, which rings when its owner is gone.
#[derive(Debug)]
pub(crate) enum Bell {
    Fifo(Receiver),
    /// Somebody put another kind of file in its place, which never rings.
    Silent(File),
}

impl Bell {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Fifo => Receiver::from_file(file).map(Self::Fifo),
            _ => Ok(Self::Silent(file)),
        }
    }

    pub(crate) fn can_ring(&self) -> bool {
        matches!(self, Self::Fifo(_))
    }

    /// Returns when the owner is gone, or nothing more can be heard of it.
    pub(crate) async fn rung(&self, is_gone: impl Fn() -> bool) {
        let Self::Fifo(fifo) = self else { return std::future::pending().await };
        // It rings once for what the owner wrote at the beginning. What rings for anything else rings for ever.
        for _ in 0..2 {
            let waited = fifo.readable().await;
            if waited.is_err() || is_gone() {
                return;
            }
            // Nothing is taken from it, so it is not heard again before there is more.
            let _ = fifo.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Fifo(fifo) => fifo.as_fd(),
            Self::Silent(file) => file.as_fd(),
        }
    }
}
