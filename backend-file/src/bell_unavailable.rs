//! No wake-ups: this system does not tell when a file is closed, so that waiters look again and again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The file of an entry.
#[derive(Debug)]
pub(crate) struct Bell(File);

impl Bell {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self(file))
    }

    pub(crate) fn can_ring(&self) -> bool {
        false
    }

    pub(crate) async fn rung(&self, _: impl Fn() -> bool) {
        std::future::pending().await
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
