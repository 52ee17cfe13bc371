//! Results on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// A line of the result.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// The result, for programs.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// The result, for people: aligned columns.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let header = header.map(str::to_owned);
    let lines: Vec<[String; N]> = std::iter::once(&header).chain(rows).map(printable).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let aligned = lines.iter().map(|line| {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    });
    line(aligned.collect::<Vec<_>>().join("\n"))
}

/// Names and labels come from anybody, and could move the cursor of the terminal.
fn printable<const N: usize>(cells: &[String; N]) -> [String; N] {
    cells.each_ref().map(|cell| {
        let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        cell.chars().map(escape).collect()
    })
}

/// Something for the user to know. There is nobody to tell when stderr is closed.
pub(crate) fn diagnostic(message: impl Display) {
    let _ = writeln!(io::stderr(), "fairlock: {message}");
}
