//! What is shown of the rows.

use std::io;

use serde::Serialize;

use super::measure::{Figures, Percentiles, Spread};
use crate::output::{self, Cell};
use crate::terminal::Tone;

/// A row. Its JSON is documented in the help, so: fields may be added, not changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) row: &'static str,
    pub(super) kind: &'static str,
    pub(super) release: &'static str,
    pub(super) services: u32,
    pub(super) contenders: u32,
    pub(super) rounds: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) jain: Option<f64>,
    pub(super) overtaking: u64,
    pub(super) floor: Option<Figures>,
    /// Of ours to the floor in each round.
    pub(super) ratio: Option<Spread>,
}

/// What a table shows of a row.
const HEADER: [&str; 16] = [
    "ROW",
    "KIND",
    "RELEASE",
    "N",
    "GRANTS/S",
    "MIN-MAX",
    "FLOOR",
    "RATIO",
    "ACQUIRE P50",
    "P99",
    "HANDOVER P50",
    "P99",
    "JAIN",
    "OVERTAKING",
    "REQUESTS",
    "BYTES",
];

pub(super) fn table(rows: &[Row]) -> io::Result<()> {
    output::table(HEADER, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn cells(row: &Row) -> [Cell; 16] {
    let rate = |figures: &Figures| number(figures.grants_per_second.map(|spread| spread.median));
    let spread = row.figures.grants_per_second;
    let [acquire50, acquire99] = microseconds(row.figures.acquire_us);
    let [handover50, handover99] = microseconds(row.figures.handover_us);
    let overtaking = if row.overtaking == 0 { Tone::Good } else { Tone::Bad };
    [
        Cell::new(row.row),
        Cell::new(row.kind),
        Cell::new(row.release),
        Cell::new(row.contenders),
        Cell::new(rate(&row.figures)),
        Cell::new(spread.map_or("-".to_owned(), |Spread { min, max, .. }| format!("{min:.0}-{max:.0}"))),
        Cell::new(row.floor.as_ref().map_or("-".to_owned(), rate)),
        Cell::new(row.ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.median))),
        acquire50,
        acquire99,
        handover50,
        handover99,
        Cell::new(row.jain.map_or("-".to_owned(), |jain| format!("{jain:.3}"))),
        Cell::toned(overtaking, row.overtaking),
        Cell::new(row.figures.requests_per_grant.map_or("-".to_owned(), |requests| format!("{requests:.1}"))),
        Cell::new(number(row.figures.bytes_per_grant)),
    ]
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn microseconds(percentiles: Option<Percentiles>) -> [Cell; 2] {
    let shown = |value: f64| {
        let digits = if value < 10.0 { 2 } else { 0 };
        format!("{value:.digits$}µs")
    };
    match percentiles {
        Some(Percentiles { p50, p99 }) => [Cell::new(shown(p50)), Cell::new(shown(p99))],
        None => [Cell::new("-"), Cell::new("-")],
    }
}
