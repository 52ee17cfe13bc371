//! A witness: a process in the process group of `fairlock run` that does nothing but remember which signals come. Nobody sends
//! it one by itself, so that what it got, the whole group got, and with it the program, which must not get it once more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
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
    process: Child,
    link: Link,
}

impl Witness {
    pub(crate) fn new() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::from(again("witness", WITNESS)?).stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self { process, link: Link::new(socket)? })
    }

    /// Which of these signals the whole group got, since it was asked last.
    pub(crate) async fn saw(&mut self, signals: &[Signal]) -> io::Result<Vec<bool>> {
        /// Without an answer a signal is passed on: rather twice than never.
        const PATIENCE: Duration = Duration::from_secs(1);
        self.link.send(&());
        let seen = match timeout(PATIENCE, self.link.next::<Vec<i32>>()).await {
            Ok(Some(seen)) => seen,
            Ok(None) => self.died_of().await?.into_iter().collect(),
            Err(_) => Vec::new(),
        };
        Ok(signals.iter().map(|signal| seen.contains(&signal.as_raw())).collect())
    }

    /// Of which signal it has died, before it was ready for any. Another takes its place.
    async fn died_of(&mut self) -> io::Result<Option<i32>> {
        let signal = self.process.wait().await?.signal();
        *self = Self::new()?;
        Ok(signal)
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
