//! The command lines of those who look at a lock, and of who takes one away.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::{Named, duration};
use crate::generate::lock_names;

#[derive(Debug, Args)]
pub(crate) struct FreeOptions {
    #[command(flatten)]
    pub(crate) lock: Named,

    /// Wait at most this long until it is free, such as 5 (seconds), 0.5 or 1m
    #[arg(long, short, visible_alias = "timeout", value_name = "DURATION", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[command(flatten)]
    pub(crate) free: FreeOptions,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseOptions {
    /// The semaphore of this name; how many permits it has does not matter here
    #[arg(long, value_name = "N", num_args = 0..=1)]
    semaphore: Option<Option<String>>,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// The name of the lock, and the entry: its id or its token, as `fairlock queue --json` shows them
    #[arg(required = true, num_args = 1..=2, value_names = ["NAME", "ID"])]
    #[arg(add = ArgValueCompleter::new(lock_names))]
    name_and_id: Vec<String>,
}

impl ReleaseOptions {
    pub(crate) fn lock(&self) -> Named {
        let name = self.name_and_id.split_last().and_then(|(_, name)| name.first().cloned());
        Named { semaphore: self.semaphore.clone(), name }
    }

    pub(crate) fn id(&self) -> &str {
        self.name_and_id.last().map_or("", String::as_str)
    }
}
