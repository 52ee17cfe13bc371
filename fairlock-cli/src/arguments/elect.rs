//! The command line of `fairlock elect`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::wanted::host_and_process;
use super::{RunOptions, Wanted, duration};
use crate::generate::lock_names;
use crate::help::GRACE;

#[derive(Debug, Args)]
pub(crate) struct ElectOptions {
    /// Go on until interrupted, and print every change; an empty line if nobody leads
    #[arg(long, short, conflicts_with = "command")]
    pub(crate) watch: bool,

    /// Print JSON
    #[arg(long, conflicts_with = "command")]
    pub(crate) json: bool,

    /// What others see of us when we lead, such as an address [default: HOST:PID]
    #[arg(long, requires = "command")]
    value: Option<String>,

    /// Say what it waits for: how many are ahead, who leads, and since when
    #[arg(long, short, requires = "command")]
    verbose: bool,

    /// From SIGTERM to SIGKILL, where CMD has to end [default: 10s, or what the session allows]
    #[arg(long_help = GRACE, requires = "command")]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,

    /// The name of the election, which is that of its lock
    #[arg(add = ArgValueCompleter::new(lock_names))]
    pub(crate) name: String,

    /// The program to run while we lead, with its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl ElectOptions {
    /// A program to be run under the lock of the election; `None` if it is only asked who leads.
    pub(crate) fn campaign(&self) -> Option<RunOptions> {
        let mut wanted = Wanted::exclusive(&self.name);
        wanted.verbose = self.verbose;
        let mut campaign = RunOptions::new(wanted, self.command.clone());
        campaign.value = Some(self.value.clone().unwrap_or_else(host_and_process));
        campaign.grace = self.grace;
        (!self.command.is_empty()).then_some(campaign)
    }
}
