//! What is shown of the rows.

use std::fmt::Display;
use std::io;

use serde::Serialize;

use super::measure::{Figures, Percentiles, Spread};
use crate::output::{self, Cell};
use crate::terminal::Tone;

/// How fast it goes, beside the floor. Its JSON is documented in the help, so: fields may be added, not changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Speed {
    pub(super) row: &'static str,
    pub(super) kind: &'static str,
    pub(super) release: &'static str,
    pub(super) n: u32,
    pub(super) services: u32,
    pub(super) rounds: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) jain: Option<f64>,
    pub(super) overtaking: u64,
    pub(super) floor: Option<Figures>,
    /// Of ours to the floor in each round.
    pub(super) ratio: Option<Spread>,
}

/// How much there can be. Its JSON is documented in the help, so: fields may be added, not changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Growth {
    pub(super) row: &'static str,
    pub(super) kind: &'static str,
    pub(super) n: u32,
    pub(super) seconds_to_queue: f64,
    pub(super) memory_bytes_each: Option<f64>,
    pub(super) grants_per_second: Option<f64>,
    pub(super) overtaking: Option<u64>,
    pub(super) requests_per_second: Option<f64>,
    pub(super) commands_per_second: Option<f64>,
    pub(super) bytes_per_second: Option<f64>,
    pub(super) server_cpu_ms_per_second: Option<f64>,
}

/// All rows: shown to programs one by one, to people as tables at the end.
pub(super) struct Report {
    json: bool,
    speeds: Vec<Speed>,
    growths: Vec<Growth>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, speeds: Vec::new(), growths: Vec::new() }
    }

    pub(super) fn speed(&mut self, row: Speed) -> io::Result<()> {
        self.show(&row)?;
        self.speeds.push(row);
        Ok(())
    }

    pub(super) fn growth(&mut self, row: Growth) -> io::Result<()> {
        self.show(&row)?;
        self.growths.push(row);
        Ok(())
    }

    fn show(&self, row: &impl Serialize) -> io::Result<()> {
        if self.json { output::line(serde_json::to_string(row)?) } else { Ok(()) }
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        if !self.json && !self.speeds.is_empty() {
            output::table(SPEED, &self.speeds.iter().map(speed_cells).collect::<Vec<_>>())?;
            output::line("")?;
            output::table(COST, &self.speeds.iter().map(cost_cells).collect::<Vec<_>>())?;
        }
        if !self.json && !self.growths.is_empty() {
            if !self.speeds.is_empty() {
                output::line("")?;
            }
            output::table(GROWTH, &self.growths.iter().map(growth_cells).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    pub(super) fn speeds(&self) -> &[Speed] {
        &self.speeds
    }

    /// Whether anybody overtook anybody.
    pub(super) fn overtaking(&self) -> bool {
        self.speeds.iter().any(|row| row.overtaking > 0)
            || self.growths.iter().any(|row| row.overtaking.is_some_and(|overtaking| overtaking > 0))
    }
}

const SPEED: [&str; 8] = ["ROW", "KIND", "N", "GRANTS/S", "RATIO", "ACQUIRE", "HANDOVER", "FLOOR"];

fn speed_cells(row: &Speed) -> [Cell; 8] {
    let figures = &row.figures;
    let rate = |figures: &Figures| Some(figures.grants_per_second?.median);
    let spread = |Spread { median, min, max }| format!("{median:.0} ({min:.0}-{max:.0})");
    let [name, kind, n] = name_cells(row);
    [
        name,
        kind,
        n,
        shown(figures.grants_per_second.map(spread)),
        number(row.ratio.map(|ratio| ratio.median), 2, ""),
        percentiles(figures.acquire_us),
        percentiles(figures.handover_us),
        number(row.floor.as_ref().and_then(rate), 0, ""),
    ]
}

const COST: [&str; 9] = ["ROW", "KIND", "N", "OVERTAKING", "JAIN", "REQUESTS", "COMMANDS", "BYTES", "SERVER"];

fn cost_cells(row: &Speed) -> [Cell; 9] {
    let figures = &row.figures;
    let [name, kind, n] = name_cells(row);
    [
        name,
        kind,
        n,
        overtaking(row.overtaking),
        number(row.jain, 3, ""),
        number(figures.requests_per_grant, 1, ""),
        number(figures.commands_per_grant, 0, ""),
        number(figures.bytes_per_grant, 0, ""),
        number(figures.server_cpu_us_per_grant, 0, "µs"),
    ]
}

fn name_cells(row: &Speed) -> [Cell; 3] {
    let name = match row.release {
        "dropped" => format!("{}, dropped", row.row),
        _ => row.row.to_owned(),
    };
    [Cell::new(name), Cell::new(row.kind), Cell::new(row.n)]
}

const GROWTH: [&str; 11] = [
    "ROW",
    "KIND",
    "N",
    "QUEUED IN",
    "MEMORY EACH",
    "GRANTS/S",
    "OVERTAKING",
    "REQUESTS/S",
    "COMMANDS/S",
    "BYTES/S",
    "SERVER",
];

fn growth_cells(row: &Growth) -> [Cell; 11] {
    [
        Cell::new(row.row),
        Cell::new(row.kind),
        Cell::new(row.n),
        number(Some(row.seconds_to_queue), 2, "s"),
        number(row.memory_bytes_each, 0, "B"),
        number(row.grants_per_second, 0, ""),
        row.overtaking.map_or(Cell::new("-"), overtaking),
        number(row.requests_per_second, 1, ""),
        number(row.commands_per_second, 1, ""),
        number(row.bytes_per_second, 0, ""),
        number(row.server_cpu_ms_per_second, 2, "ms/s"),
    ]
}

fn overtaking(count: u64) -> Cell {
    Cell::toned(if count == 0 { Tone::Good } else { Tone::Bad }, count)
}

fn number(value: Option<f64>, digits: usize, unit: &str) -> Cell {
    shown(value.map(|value| format!("{value:.digits$}{unit}")))
}

/// The median and the 99th percentile.
fn percentiles(percentiles: Option<Percentiles>) -> Cell {
    let digits = |value: f64| if value < 10.0 { 1 } else { 0 };
    let both = |Percentiles { p50, p99 }| format!("{p50:.*} / {p99:.*}µs", digits(p50), digits(p99));
    shown(percentiles.map(both))
}

fn shown(value: Option<impl Display>) -> Cell {
    value.map_or(Cell::new("-"), Cell::new)
}
