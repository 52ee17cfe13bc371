//! Which lock is wanted, how, and for how long it is waited for: what `run` and `lock` have in common.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use fairlock::{AcquireOptions, DistributedLock, LockService, Result, Wait};

use super::duration;
use crate::exit::{Failure, NOT_IN_TIME};
use crate::generate::lock_names;

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Share the lock with others who share it
    #[arg(long, short)]
    shared: bool,

    /// Have the lock alone, as without this option
    #[arg(long, short = 'x', visible_short_alias = 'e', conflicts_with_all = ["shared", "semaphore"])]
    exclusive: bool,

    /// Take a permit of a semaphore that has N; everybody must give the same N
    #[arg(long, value_name = "N", conflicts_with = "shared")]
    semaphore: Option<u32>,

    /// Take K permits of the semaphore, all at once
    #[arg(long, value_name = "K", default_value_t = 1, requires = "semaphore")]
    permits: u32,

    /// Only if the lock is free now
    #[arg(long = "try", short = 'n', visible_alias = "nonblock", alias = "nb", conflicts_with = "wait")]
    only_try: bool,

    /// Wait at most this long for the lock, such as 5 (seconds), 0.5 or 1m
    #[arg(long, short, visible_alias = "timeout", value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,

    /// What the queue shows about us [default: HOST:PID]
    #[arg(long)]
    label: Option<String>,

    /// Exit with this code if the lock is not had in time
    #[arg(long, short = 'E', value_name = "CODE", default_value_t = NOT_IN_TIME)]
    conflict_exit_code: u8,

    /// Say what it waits for: how many are ahead, who holds, and since when
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// Say nothing while it waits, where a terminal would be told after a second, nor if the lock is not had in time
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Wait also if the lock is held by a command that this one was started by, and with which it may wait for ever
    #[arg(long)]
    allow_nested: bool,

    /// The name of the lock
    #[arg(add = ArgValueCompleter::new(lock_names))]
    pub(crate) name: String,
}

impl Wanted {
    /// The exclusive lock of this name, without limit.
    pub(crate) fn exclusive(name: &str) -> Self {
        Self {
            shared: false,
            exclusive: true,
            semaphore: None,
            permits: 1,
            only_try: false,
            wait: None,
            label: None,
            conflict_exit_code: NOT_IN_TIME,
            verbose: false,
            quiet: false,
            allow_nested: false,
            name: name.to_owned(),
        }
    }

    /// How it ends when the lock is not had.
    pub(crate) fn not_in_time(&self) -> Failure {
        let message =
            if self.quiet { String::new() } else { format!("{:?} was not free in time", self.name) };
        Failure::new(self.conflict_exit_code, message)
    }

    pub(crate) fn lock(&self, service: &dyn LockService) -> Result<Arc<dyn DistributedLock>> {
        match self.semaphore {
            Some(limit) => service.semaphore(&self.name, limit),
            None if self.shared => service.shared(&self.name),
            None => service.exclusive(&self.name),
        }
    }

    /// Whether it could wait for what a command holds by which it was started. A try does not wait.
    pub(crate) fn may_wait_for_itself(&self) -> bool {
        !self.allow_nested && !self.only_try
    }

    /// How to acquire the lock.
    pub(crate) fn acquire(&self) -> AcquireOptions {
        let wait = match (self.only_try, self.wait) {
            (true, _) => Wait::Never,
            (false, Some(duration)) => Wait::For(duration),
            (false, None) => Wait::Forever,
        };
        AcquireOptions::new().with_wait(wait).with_permits(self.permits).with_label(self.label())
    }

    /// What the queue shows about us.
    pub(crate) fn label(&self) -> String {
        self.label.clone().unwrap_or_else(host_and_process)
    }
}

pub(super) fn host_and_process() -> String {
    format!("{}:{}", gethostname::gethostname().to_string_lossy(), std::process::id())
}
