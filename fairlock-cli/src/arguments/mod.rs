//! The command line.

mod duration;
mod elect;
mod lock;
mod look;
mod named;
mod run;
mod wanted;

use std::env::VarError;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use fairlock::Config;

pub(crate) use self::duration::duration;
pub(crate) use self::elect::ElectOptions;
pub(crate) use self::lock::{JoinOptions, LockOptions, UnlockOptions};
pub(crate) use self::look::{CheckOptions, FreeOptions, ReleaseOptions};
pub(crate) use self::named::Named;
pub(crate) use self::run::RunOptions;
pub(crate) use self::wanted::Wanted;
use crate::bench::BenchOptions;
use crate::exit::{CONFIG, Failure};
use crate::help::{
    BENCH, CHECK, CHECK_USAGE, COMPLETIONS, CONFORMANCE, DEMO, ELECT, ELECT_USAGE, EXIT_CODES, JOIN, LIST,
    LOCK, MAN, QUEUE, QUEUE_USAGE, RELEASE, RELEASE_USAGE, RUN, RUN_USAGE, UNLOCK, URL, WAIT, WAIT_USAGE,
};

/// Fair locks: run a program under one, and see who holds and who waits
#[derive(Debug, Parser)]
#[command(name = "fairlock", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Where the locks live, such as zookeeper://zk1:2181/app [env: FAIRLOCK_URL] [default: a private directory of this machine]
    #[arg(long_help = URL)]
    #[arg(long, global = true, display_order = 100)]
    url: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Where the locks live, if anybody says so. An environment variable that is empty says nothing.
    pub(crate) fn url(&self) -> Result<Option<String>, Failure> {
        self.url.clone().map_or_else(url_of_environment, |url| Ok(Some(url)))
    }
}

/// Where the environment says that the locks live.
pub(crate) fn url_of_environment() -> Result<Option<String>, Failure> {
    match std::env::var(Config::ENV) {
        Ok(url) => Ok(Some(url).filter(|url| !url.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        // The error would show the value.
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::new(CONFIG, format!("the environment variable {} is not UTF-8", Config::ENV)))
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let some executors contend for one lock, and check that they take turns
    ///
    /// Prints each grant with its fencing token. Checks that never two hold the lock at once, and that they get it
    /// in the order in which they stand in its queue.
    #[command(after_help = DEMO)]
    Demo(DemoOptions),

    /// Show who leads, or run a program while it leads
    ///
    /// The candidates of an election are the queue of the lock of its name. Without CMD, prints the value of the leader. With
    /// CMD, waits until it is our turn to lead, and runs CMD as `fairlock run` does; others see the value.
    #[command(after_help = ELECT, override_usage = ELECT_USAGE)]
    Elect(ElectOptions),

    /// Run a program while holding a lock
    ///
    /// Waits for its turn in the queue of the lock, runs CMD, gives the lock back when CMD ends, and exits with CMD's
    /// exit code (128 + n if signal n killed it). What CMD leaves running when it ends by itself goes on without the
    /// lock. At every other end, everything that CMD started ends before somebody else can hold the lock: when a signal
    /// asks it to end, when the lock is about to be lost, and when fairlock is killed.
    #[command(after_help = RUN, override_usage = RUN_USAGE)]
    Run(RunOptions),

    /// Show who holds and who waits for a lock, in order
    #[command(after_help = QUEUE, override_usage = QUEUE_USAGE)]
    Queue(QueueOptions),

    /// Take a lock for a shell, until that ends or says fairlock unlock
    ///
    /// Prints what the shell has to execute: eval "$(fairlock lock NAME)". A small process in the background holds the lock. It gives it back when the
    /// shell ends, at `fairlock unlock`, or when the time of --for is over. If the lock is lost, the shell gets SIGTERM, which a shell
    /// that somebody types into ignores.
    #[command(after_help = LOCK)]
    Lock(LockOptions),

    /// Give a lock back that `fairlock lock` took for this shell
    #[command(after_help = UNLOCK)]
    Unlock(UnlockOptions),

    /// Wait for what this shell has started with fairlock run --background
    #[command(after_help = JOIN)]
    Join(JoinOptions),

    /// Wait until a lock is free, and take nothing
    ///
    /// It is free when somebody who comes would have it at once: when nobody holds it, and nobody waits.
    #[command(after_help = WAIT, override_usage = WAIT_USAGE)]
    Wait(FreeOptions),

    /// Say whether a lock is free: exit with 0 if it is, with 1 if not; who holds it is printed
    #[command(after_help = CHECK, override_usage = CHECK_USAGE)]
    Check(CheckOptions),

    /// Take a lock away from somebody, by force
    ///
    /// Removes an entry from the queue of a lock. Its owner is told by its loss: `fairlock run` then ends its program. That may take some seconds, in
    /// which the next may hold already: end the owner itself where you can.
    #[command(after_help = RELEASE, override_usage = RELEASE_USAGE)]
    Release(ReleaseOptions),

    /// Show all locks that somebody holds or waits for, live, those with most waiters first
    ///
    /// Keys: up and down choose, Enter looks into a lock, x takes it away from the chosen entry, after a question, Esc goes back, q quits.
    #[cfg(feature = "top")]
    Top,

    /// Show the locks that somebody holds, waits for, or left traces of
    #[command(after_help = LIST)]
    List(ListOptions),

    /// Remove what unused locks left behind; locks in use are not touched
    Cleanup,

    /// Check that a running service keeps every promise that fairlock makes
    #[command(after_help = CONFORMANCE)]
    Conformance(ConformanceOptions),

    /// Measure how fast the locks are, beside the least that a lock costs there
    ///
    /// Measures, in turn, our locks and the floor: the requests that no lock on that service can do without, sent through
    /// the same client library.
    #[command(after_help = BENCH)]
    Bench(BenchOptions),

    /// Print the SQL that makes the schema in which the locks live
    ///
    /// The first program that takes a lock makes it, if it may. Otherwise let somebody execute this who may.
    #[cfg(feature = "postgres")]
    #[command(after_help = crate::help::SCHEMA)]
    Schema(SchemaOptions),

    /// Print a script that makes a shell complete this command
    #[command(after_help = COMPLETIONS)]
    Completions(CompletionsOptions),

    /// Print the manual page of this command, or of one of its subcommands
    #[command(after_help = MAN)]
    Man(ManOptions),
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
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = duration)]
    pub(crate) hold: Duration,

    /// The name of the lock
    #[arg(long, default_value = "fairlock-demo")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct QueueOptions {
    #[command(flatten)]
    pub(crate) lock: Named,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Go on until interrupted, and show every change
    #[arg(long, short)]
    pub(crate) watch: bool,
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

    /// In the place of trials, let processes contend for so long, break their network, stop and kill them
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "filter")]
    pub(crate) chaos: Option<Duration>,

    /// What chaos breaks, and when, follows from this number [default: a random one]
    #[arg(long, value_name = "N", requires = "chaos")]
    pub(crate) seed: Option<u64>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "postgres")]
#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// The service
    pub(crate) service: SchemaOf,

    /// The name of the schema
    #[arg(long, value_name = "NAME", default_value = "fairlock")]
    pub(crate) schema: String,
}

/// The services that have a schema.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum SchemaOf {
    Postgres,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManOptions {
    /// Write the pages of the command and of all its subcommands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) install: Option<PathBuf>,

    /// The subcommand
    pub(crate) command: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use proptest::prelude::*;
    use proptest::test_runner::Config as Cases;

    use super::Arguments;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    fn cases() -> Cases {
        let usual = Cases::default();
        match std::env::var_os("PROPTEST_CASES") {
            Some(_) => usual,
            None => Cases { cases: 10_000, ..usual },
        }
    }

    const KNOWN: [&str; 10] =
        ["run", "queue", "conformance", "bench", "--url", "--wait", "--semaphore", "--time", "--chaos", "--"];

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned),
            2 => "(--?[a-z]{1,9}=?)?[0-9]{0,30}(ms|s|m|y)?",
            1 => any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(cases())]

        /// Whatever is written there is a command, or wrong usage with a reason.
        #[test]
        fn any_command_line_is_answered(words in prop::collection::vec(word(), 0..7)) {
            let line = std::iter::once("fairlock".to_owned()).chain(words);
            if let Err(error) = Arguments::try_parse_from(line) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
