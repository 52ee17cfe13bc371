//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use fairlock::{AcquireOptions, Config, Wait};

use crate::bench::BenchOptions;
use crate::exit::NOT_IN_TIME;
use crate::help::{
    BENCH, COMPLETIONS, CONFORMANCE, DEMO, ELECT, EXIT_CODES, GRACE, LIST, MAN, ONCE_PER, QUEUE, RUN, URL,
};

/// Fair locks: run a program under one, and see who holds and who waits
#[derive(Debug, Parser)]
#[command(name = "fairlock", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Where the locks live, such as zookeeper://zk1:2181/app [default: a private directory of this machine]
    #[arg(long_help = URL)]
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
    /// in the order in which they stand in its queue.
    #[command(after_help = DEMO)]
    Demo(DemoOptions),

    /// Show who leads, or run a program while it leads
    ///
    /// The candidates of an election are the queue of the lock of its name. Without CMD, prints the value of the leader. With
    /// CMD, waits until it is our turn to lead, and runs CMD as `fairlock run` does; others see the value.
    #[command(after_help = ELECT)]
    Elect(ElectOptions),

    /// Run a program while holding a lock
    ///
    /// Waits for its turn in the queue of the lock, runs CMD, gives the lock back when CMD ends, and exits with CMD's
    /// exit code (128 + n if signal n killed it). What CMD leaves running when it ends by itself goes on without the
    /// lock. At every other end, everything that CMD started ends before somebody else can hold the lock: when a signal
    /// asks it to end, when the lock is about to be lost, and when fairlock is killed.
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

    /// Hold the exclusive lock of this name as well; all or none, in one order for everybody. May be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "once_per")]
    pub(crate) and: Vec<String>,

    /// Hold the lock for this long at least, even if CMD ends sooner, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) at_least: Option<Duration>,

    /// Run CMD at most once in this period, such as 1h, whoever tries; else exit with 0
    #[arg(long_help = ONCE_PER)]
    #[arg(long, value_name = "PERIOD", value_parser = humantime::parse_duration)]
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
    value: Option<String>,

    /// Exit with this code if the lock is not had in time
    #[arg(long, short = 'E', value_name = "CODE", default_value_t = NOT_IN_TIME)]
    pub(crate) conflict_exit_code: u8,

    /// Say what it waits for: how many are ahead, who holds, and since when
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// From SIGTERM to SIGKILL, where CMD has to end [default: 10s, or what the session allows]
    #[arg(long_help = GRACE)]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) grace: Option<Duration>,

    /// The name of the lock
    pub(crate) name: String,

    /// Run this line in a shell: $SHELL, or else /bin/sh
    #[arg(short = 'c', value_name = "LINE", conflicts_with = "command")]
    line: Option<OsString>,

    /// The program to run, with its arguments
    #[arg(last = true, required_unless_present = "line", value_name = "CMD")]
    command: Vec<OsString>,
}

impl RunOptions {
    /// The program to run, with its arguments.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let Some(line) = &self.line else { return self.command.clone() };
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        vec![shell.unwrap_or_else(|| "/bin/sh".into()), "-c".into(), line.clone()]
    }

    /// How to acquire the lock.
    pub(crate) fn acquire(&self) -> AcquireOptions {
        let wait = match (self.only_try, self.wait) {
            (true, _) => Wait::Never,
            (false, Some(duration)) => Wait::For(duration),
            (false, None) => Wait::Forever,
        };
        let mut acquire =
            AcquireOptions::new().with_wait(wait).with_permits(self.permits).with_label(self.label());
        acquire.value = self.value.as_deref().map(Into::into);
        acquire
    }

    /// What the queue shows about us.
    pub(crate) fn label(&self) -> String {
        self.label.clone().unwrap_or_else(host_and_process)
    }
}

fn host_and_process() -> String {
    format!("{}:{}", gethostname::gethostname().to_string_lossy(), std::process::id())
}

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
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,

    /// The name of the election, which is that of its lock
    pub(crate) name: String,

    /// The program to run while we lead, with its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl ElectOptions {
    /// A program to be run under the lock of the election; `None` if it is only asked who leads.
    pub(crate) fn campaign(&self) -> Option<RunOptions> {
        (!self.command.is_empty()).then(|| RunOptions {
            shared: false,
            semaphore: None,
            permits: 1,
            only_try: false,
            wait: None,
            label: None,
            and: Vec::new(),
            at_least: None,
            once_per: None,
            again_if_unfinished: false,
            again_if_failed: false,
            value: Some(self.value.clone().unwrap_or_else(host_and_process)),
            conflict_exit_code: NOT_IN_TIME,
            verbose: self.verbose,
            grace: self.grace,
            name: self.name.clone(),
            line: None,
            command: self.command.clone(),
        })
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

    /// Go on until interrupted, and show every change
    #[arg(long, short)]
    pub(crate) watch: bool,

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

    /// In the place of trials, let processes contend for so long, break their network, stop and kill them
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "filter")]
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
