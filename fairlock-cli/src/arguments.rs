//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fairlock::{AcquireOptions, Config, Wait};

/// Fair distributed locks: run a program under one, and see who holds and who waits
#[derive(Debug, Parser)]
#[command(name = "fairlock", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Where the locks live, such as zookeeper://zk1:2181,zk2:2181/app
    ///
    /// Other users can see the arguments of a process: a URL with a password belongs into the environment.
    #[arg(long, env = Config::ENV, hide_env_values = true, global = true, display_order = 100)]
    pub(crate) url: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let some executors contend for one lock, and check that they take turns
    ///
    /// Prints each grant with its fencing token. Checks that never two hold the lock at once, and that they get it
    /// in the order in which they stand in its queue. Without a URL the lock lives in memory.
    #[command(after_help = DEMO)]
    Demo(DemoOptions),

    /// Run a program while holding a lock
    ///
    /// Waits for its turn in the queue of the lock, runs CMD, gives the lock back, and exits with CMD's exit code
    /// (128 + n if signal n killed it). Signals are passed on. If the lock is lost meanwhile, CMD is told to end by
    /// SIGTERM, and after the grace by SIGKILL. CMD is killed when fairlock is; what CMD started in turn is not.
    #[command(after_help = RUN)]
    Run(RunOptions),

    /// Show who holds and who waits for a lock, in order
    #[command(after_help = QUEUE)]
    Queue(QueueOptions),

    /// Show the locks that somebody holds, waits for, or left traces of
    #[command(after_help = LIST)]
    List(ListOptions),

    /// Remove what unused locks left behind; locks in use are not touched
    Cleanup,

    /// Check that a running service keeps every promise that fairlock makes
    #[command(after_help = CONFORMANCE)]
    Conformance(ConformanceOptions),

    /// What `run` starts: becomes CMD, and dies with the process that started it
    #[command(name = "__child", hide = true)]
    Child(ChildCommand),
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// How many contend
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) executors: u32,

    /// How many times each takes the lock
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: u32,

    /// How long each keeps the lock
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,

    /// The name of the lock
    #[arg(long, default_value = "fairlock-demo")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Share the lock with others who share it
    #[arg(long)]
    pub(crate) shared: bool,

    /// Take a permit of a semaphore that has N; everybody must give the same N
    #[arg(long, value_name = "N", conflicts_with = "shared")]
    pub(crate) semaphore: Option<u32>,

    /// Take K permits of the semaphore, all at once
    #[arg(long, value_name = "K", default_value_t = 1, requires = "semaphore")]
    permits: u32,

    /// Only run CMD if the lock is free now
    #[arg(long = "try", conflicts_with = "wait")]
    only_try: bool,

    /// Wait at most this long for the lock, such as 5s or 1m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,

    /// What the queue shows about us [default: HOST:PID]
    #[arg(long)]
    label: Option<String>,

    /// How long CMD may take to end after the lock is lost
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,

    /// The name of the lock
    pub(crate) name: String,

    /// The program to run, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl RunOptions {
    /// How to acquire the lock.
    pub(crate) fn acquire(&self) -> AcquireOptions {
        let wait = match (self.only_try, self.wait) {
            (true, _) => Wait::Never,
            (false, Some(duration)) => Wait::For(duration),
            (false, None) => Wait::Forever,
        };
        let options = AcquireOptions::new().with_wait(wait).with_permits(self.permits);
        match &self.label {
            Some(label) => options.with_label(label),
            None => options,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QueueOptions {
    /// Look at the semaphore of this name; its size does not matter here
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true)]
    pub(crate) semaphore: Option<Option<u32>>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The name of the lock
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConformanceOptions {
    /// Only trials whose name contains this
    #[arg(long)]
    pub(crate) filter: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChildCommand {
    /// The process that has to live
    pub(crate) parent: i32,

    /// The program, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0   success
  1   demo or conformance: a promise was broken
  64  wrong usage
  69  the service cannot be reached
  70  another error
  75  the lock was not had in time
  76  the lock, or the place in its queue, was lost
  77  permission denied
  78  wrong URL or configuration
  run exits with the exit code of its program; 126 if that cannot be executed, 127 if it was not found.

Results go to stdout, everything else to stderr. RUST_LOG=debug shows more.";

const DEMO: &str = "\
Examples:
  fairlock demo
  fairlock demo --url zookeeper://localhost:2181 --executors 50 --tasks 2 --hold 0s";

const RUN: &str = "\
CMD finds in its environment:
  FAIRLOCK_NAME   the name of the lock
  FAIRLOCK_TOKEN  the fencing token, a number that grows from holder to holder: let what the lock protects refuse
                  a smaller one than it has seen

Examples:
  fairlock run --url zookeeper://localhost:2181 nightly/backup -- ./backup.sh --full
  fairlock run --try migrations -- ./migrate || echo 'somebody else does it'
  fairlock run --semaphore 4 --wait 1m gpu -- python3 train.py";

const QUEUE: &str = "\
JSON: an array of objects, the first in the queue first, with
  position  place in the queue, from 0
  holds     true, or false: waits
  kind      \"exclusive\", \"shared\" or \"semaphore\"
  permits   how many permits it takes (semaphores only)
  limit     how many permits there are (semaphores only)
  token     fencing token
  id        identity of the entry
  since     when the server accepted it (RFC 3339), or null
  label     what its owner says about itself

Examples:
  fairlock queue nightly/backup
  fairlock queue --semaphore gpu
  fairlock queue --json nightly/backup | jq -r '.[] | select(.holds).label'";

const LIST: &str = "\
JSON: an array of objects with
  family  \"lock\" or \"semaphore\"
  name    name of the lock";

const CONFORMANCE: &str = "\
Uses locks of its own names only. Trials that need more than a URL can give are ignored, with the reason.

JSON: an array of objects with
  name     what the trial asserts
  outcome  \"passed\", \"failed\" or \"ignored\"
  reason   why it failed or was ignored, or null

Examples:
  fairlock conformance --url zookeeper://localhost:2181/playground
  fairlock conformance --filter exclusion";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
