//! An open file of a shell for which a lock is held, as `exec 9>FILE; flock 9` holds one.
//!
//! The kernel's lock on it says when the shell has closed it, and all who have it from the shell: then another open file of the same can be
//! locked.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, flock, fstat};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::exit::{Failure, OTHER, USAGE};

/// The open file of this number. What this process, and those that it starts, inherited of it is closed.
pub(crate) fn take(number: i32) -> Result<OwnedFd, Failure> {
    let missing = |_| {
        let message =
            format!("--fd {number}: there is no such open file; open one, as in: exec {number}>>FILE");
        Failure::new(USAGE, message)
    };
    let file = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()))
        .map_err(missing)?;
    let kind = FileType::from_raw_mode(fstat(&file).map_err(std::io::Error::from)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(Failure::new(USAGE, format!("--fd {number}: that is no regular file")));
    }
    nix::unistd::close(number).map_err(std::io::Error::from)?;
    Ok(file)
}

/// Gives the kernel's lock up for all who have this open.
pub(crate) fn unlock(number: i32) {
    // It may be closed by now.
    if let Ok(file) = take(number) {
        let _ = flock(file, FlockOperation::Unlock);
    }
}

/// An open file that others are to close.
#[derive(Debug)]
pub(crate) struct Claimed {
    again: File,
}

impl Claimed {
    /// Locks the file for those who have it open.
    pub(crate) async fn new(file: OwnedFd) -> Result<Self, Failure> {
        /// For how long the last holder may take to be gone.
        const PATIENCE: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(5);
        let locked = async {
            while let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if errno != Errno::WOULDBLOCK {
                    return Err(Failure::from(std::io::Error::from(errno)));
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        let taken = || Failure::new(OTHER, "somebody else has locked the open file, not with fairlock");
        tokio::time::timeout(PATIENCE, locked).await.map_err(|_| taken())??;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = File::open(&path).or_else(|_| OpenOptions::new().append(true).open(&path));
        let unknown = |error| Failure::from(error).during("the open file cannot be opened once more");
        Ok(Self { again: again.map_err(unknown)? })
    }

    /// Returns when nobody has it open any more.
    pub(crate) async fn closed(self) -> Result<(), Failure> {
        let closed = tokio::task::spawn_blocking(move || flock(self.again, FlockOperation::LockExclusive));
        closed.await.map_err(std::io::Error::from)?.map_err(|errno| std::io::Error::from(errno).into())
    }
}
