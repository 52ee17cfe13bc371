//! Nothing wakes a waiter: this system does not tell when a file is closed, so that waiters look again and again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The file of an entry.
#[derive(Debug)]
pub(crate) struct EntryWatch(File);

impl EntryWatch {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self(file))
    }

    pub(crate) fn can_wake(&self) -> bool {
        false
    }

    pub(crate) async fn woken(&self, _: impl Fn() -> bool) {
        std::future::pending().await
    }
}

impl AsFd for EntryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
