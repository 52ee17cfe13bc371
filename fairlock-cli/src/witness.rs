//! A witness: a process in the process group of `fairlock run` that does nothing but remember which signals come. Nobody sends
//! it one by itself, so that what it got, the whole group got, and with it the program, which must not get it once more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::again::again;
use crate::exit::Failure;
use crate::link::Link;
use crate::signals::Signals;

/// Tells this program, as its first argument, to be a witness. It has no name that a signal may be meant for.
const WITNESS: &str = "__witness";

/// The witness of this process, which ends with it.
#[derive(Debug)]
pub(crate) struct Witness {
    _process: Child,
    link: Link,
}

impl Witness {
    pub(crate) fn new() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::from(again("witness", WITNESS)?).stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self { _process: process, link: Link::new(socket)? })
    }

    /// Whether the whole group got this signal, since it was asked last.
    pub(crate) async fn saw(&mut self, signals: &[Signal]) -> Vec<bool> {
        /// Without an answer a signal is passed on: rather twice than never.
        const PATIENCE: Duration = Duration::from_secs(1);
        self.link.send(&());
        match timeout(PATIENCE, self.link.next::<Vec<i32>>()).await {
            Ok(Some(seen)) => signals.iter().map(|signal| seen.contains(&signal.as_raw())).collect(),
            // It has died of what it should have seen, before it was ready.
            Ok(None) => vec![true; signals.len()],
            Err(_) => vec![false; signals.len()],
        }
    }
}

/// Where this process was started as a witness: how it ended.
pub(crate) fn serve() -> Option<ExitCode> {
    std::env::args_os().nth(1).filter(|first| first == WITNESS)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(watch()));
    Some(ended.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS))
}

async fn watch() -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let mut link = Link::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))?;
    while link.next::<()>().await.is_some() {
        let seen = signals.sent().await?;
        link.send(&seen.into_iter().map(Signal::as_raw).collect::<Vec<_>>());
    }
    Ok(())
}
