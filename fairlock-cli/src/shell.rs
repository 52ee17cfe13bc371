//! The shell that this process was started by.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::descendants::{parent_of, stat};

/// The shell itself: what it runs in `$(…)`, in `(…)` and behind `|` is run by copies of it, which end sooner.
pub(crate) fn shell() -> Option<Pid> {
    let mut shell = getppid()?;
    while let Some(parent) = parent_of(shell).filter(|parent| is_copy(shell, *parent)) {
        shell = parent;
    }
    Some(shell)
}

/// Whether a process was forked, and has executed nothing since: then its arguments lie where those of its parent lie, which is another place
/// in every program that is executed (proc_pid_stat(5): arg_start, env_start).
fn is_copy(child: Pid, parent: Pid) -> bool {
    let place = |pid| {
        let place = [stat(pid, 48)?, stat(pid, 50)?];
        // The system keeps it from those who may not know.
        Some(place).filter(|[arguments, _]| *arguments != 0)
    };
    place(child).is_some_and(|own| place(parent) == Some(own))
}

/// What tells a process from an earlier one of the same number: when it was started.
pub(crate) fn started(pid: Pid) -> Option<u64> {
    stat(pid, 22)
}

/// A process that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    handle: AsyncFd<std::os::fd::OwnedFd>,
}

impl Watched {
    /// `None` if it has ended.
    #[expect(deprecated, reason = "nobody else closes an OwnedFd; what takes its place is not safe code")]
    pub(crate) fn new(pid: Pid) -> io::Result<Option<Self>> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Some(Self { handle: AsyncFd::with_interest(handle, Interest::READABLE)? })),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns when it ends.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.handle.readable().await.map(drop)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _ = pidfd_send_signal(self.handle.get_ref(), signal);
    }
}
