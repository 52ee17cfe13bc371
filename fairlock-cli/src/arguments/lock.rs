//! The command lines of `fairlock lock`, `unlock` and `join`.

use std::time::Duration;

use clap::Args;

use super::{Wanted, duration};

#[derive(Debug, Args)]
pub(crate) struct LockOptions {
    #[command(flatten)]
    pub(crate) wanted: Wanted,

    /// Hold the lock for this long at most, even if the shell has ended
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) limit: Option<Duration>,

    /// Hold the lock until this process ends [default: the shell that runs this command]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Hold the lock until the open file N of the shell is closed, as in: exec 9>>FILE; fairlock lock --fd 9 NAME
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    #[arg(conflicts_with_all = ["limit", "pid", "shared", "semaphore"])]
    pub(crate) fd: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockOptions {
    /// The name of the lock [default: the one that was locked last]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct JoinOptions {
    /// Only those that run under the lock of this name
    pub(crate) name: Option<String>,
}
