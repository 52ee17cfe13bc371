//! The command line of `fairlock run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use fairlock::AcquireOptions;

use super::{Wanted, duration};
use crate::generate::lock_names;
use crate::help::{GRACE, ONCE_PER};

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) wanted: Wanted,

    /// Hold the exclusive lock of this name as well; all or none, in one order for everybody. May be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "once_per")]
    #[arg(add = ArgValueCompleter::new(lock_names))]
    pub(crate) and: Vec<String>,

    /// Hold the lock for this long at least, even if CMD ends sooner, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) at_least: Option<Duration>,

    /// Run CMD at most once in this period, such as 1h, whoever tries; else exit with 0
    #[arg(long_help = ONCE_PER)]
    #[arg(long, value_name = "PERIOD", value_parser = duration)]
    #[arg(conflicts_with_all = ["shared", "semaphore", "only_try", "wait"])]
    pub(crate) once_per: Option<Duration>,

    /// With --once-per: a run whose machine died, or that lost the lock, does not count
    #[arg(long, requires = "once_per")]
    pub(crate) again_if_unfinished: bool,

    /// With --once-per: a run that failed does not count
    #[arg(long, requires = "once_per")]
    pub(crate) again_if_failed: bool,

    /// What others read of a leader.
    #[arg(skip)]
    pub(super) value: Option<String>,

    /// From SIGTERM to SIGKILL, where CMD has to end [default: 10s, or what the session allows]
    #[arg(long_help = GRACE)]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) grace: Option<Duration>,

    /// Return when CMD runs, and leave it in the background; `fairlock join` waits for its end
    #[arg(long, short)]
    pub(crate) background: bool,

    /// Let CMD have no open file that keeps the lock; only a directory has such
    #[arg(long, short = 'o')]
    pub(crate) close: bool,

    /// Run this line in a shell: $SHELL, or else /bin/sh
    #[arg(short = 'c', value_name = "LINE", conflicts_with = "command")]
    line: Option<OsString>,

    /// The program to run, with its arguments
    #[arg(trailing_var_arg = true, required_unless_present = "line", value_name = "CMD")]
    command: Vec<OsString>,
}

impl RunOptions {
    /// This program under the lock, and nothing else said.
    pub(super) fn new(wanted: Wanted, command: Vec<OsString>) -> Self {
        Self {
            wanted,
            and: Vec::new(),
            at_least: None,
            once_per: None,
            again_if_unfinished: false,
            again_if_failed: false,
            value: None,
            grace: None,
            background: false,
            close: false,
            line: None,
            command,
        }
    }

    /// The program to run, with its arguments.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let Some(line) = &self.line else { return self.command.clone() };
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        vec![shell.unwrap_or_else(|| "/bin/sh".into()), "-c".into(), line.clone()]
    }

    /// Whether it could wait for what a command holds by which it was started. A job that is at work is not waited for.
    pub(crate) fn may_wait_for_itself(&self) -> bool {
        self.once_per.is_none() && self.wanted.may_wait_for_itself()
    }

    /// How to acquire the lock.
    pub(crate) fn acquire(&self) -> AcquireOptions {
        let mut acquire = self.wanted.acquire();
        acquire.value = self.value.as_deref().map(Into::into);
        acquire
    }
}
