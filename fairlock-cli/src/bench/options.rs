//! What `fairlock bench` measures: its part of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::arguments;
use crate::help::{BENCH_KIND, BENCH_ONLY};

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Only these rows [default: uncontended,parallel,handover,fanout]
    #[arg(long_help = BENCH_ONLY)]
    #[arg(long, value_name = "ROW,…", value_delimiter = ',', hide_possible_values = true)]
    only: Vec<Row>,

    /// Only locks of these kinds [default: all]
    #[arg(long_help = BENCH_KIND)]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', hide_possible_values = true)]
    kind: Vec<Kind>,

    /// How many services contend in handover, and how many entries wait in fanout: a row for each number
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "2,10,50,200")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(super) waiters: Vec<u32>,

    /// How many rounds; the results are medians of them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,

    /// How long each round measures
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    pub(super) time: Duration,

    /// How many there are in the rows waiters and held
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) many: u32,

    /// Draw the row handover into this file: grants per second and cost, against N
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,

    /// Print JSON: an object on a line for each row, as soon as it is measured
    #[arg(long)]
    pub(super) json: bool,
}

impl BenchOptions {
    pub(super) fn has(&self, row: Row) -> bool {
        if self.only.is_empty() { !row.is_growth() } else { self.only.contains(&row) }
    }

    pub(super) fn kinds(&self) -> Vec<Kind> {
        let chosen = |kind: &Kind| self.kind.is_empty() || self.kind.contains(kind);
        Kind::value_variants().iter().copied().filter(chosen).collect()
    }
}

/// Locks that are held are watched for so many times the length of a round.
pub(super) const REST: u32 = 20;

fn duration(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_secs(3600);
    match arguments::duration(text)? {
        duration if (SHORTEST..=LONGEST).contains(&duration) => Ok(duration),
        _ => Err("not between 1ms and 1h".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    Uncontended,
    Parallel,
    Handover,
    Fanout,
    Waiters,
    Held,
}

impl Row {
    /// Whether it measures how much there can be, not how fast it goes.
    fn is_growth(self) -> bool {
        matches!(self, Row::Waiters | Row::Held)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Row::Uncontended => "uncontended",
            Row::Parallel => "parallel",
            Row::Handover => "handover",
            Row::Fanout => "fanout",
            Row::Waiters => "waiters",
            Row::Held => "held",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Exclusive,
    Shared,
    Semaphore,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Exclusive => "exclusive",
            Kind::Shared => "shared",
            Kind::Semaphore => "semaphore",
        }
    }
}
