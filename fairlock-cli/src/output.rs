//! Results on stdout, everything else on stderr.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::terminal::{Tone, Toned, coloured, printable, shortened, size};

/// A line of the result.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}").map_err(printing)
}

/// The result as it is.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()).map_err(printing)
}

/// Whoever was to read the result is gone, as behind a `head`: nobody is to be told that.
#[derive(Debug)]
pub(crate) struct NobodyReads;

impl Display for NobodyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the result")
    }
}

impl Error for NobodyReads {}

/// The error of printing a result.
pub(crate) fn printing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::other(NobodyReads),
        _ => error,
    }
}

/// The result, for programs.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// The result, for people: aligned columns.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[Cell; N]]) -> io::Result<()> {
    let (columns, coloured) = (size(&io::stdout()).map(|(columns, _)| columns), coloured(&io::stdout()));
    // Otherwise each of a hundred thousand lines is a system call.
    let mut stdout = BufWriter::new(io::stdout());
    let printed =
        lines(header, rows, columns, coloured).iter().try_for_each(|line| writeln!(stdout, "{line}"));
    printed.and_then(|()| stdout.flush()).map_err(printing)
}

/// The lines of a table. In a terminal of so many columns no line is longer: the last column gives way.
pub(crate) fn lines<const N: usize>(
    header: [&str; N],
    rows: &[[Cell; N]],
    columns: Option<usize>,
    coloured: bool,
) -> Vec<String> {
    let header = header.map(|text| Cell::toned(Tone::Heading, text));
    let width = |column: usize| {
        let cells = std::iter::once(&header).chain(rows).map(|row| row[column].text.chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[Cell; N]| {
        let (mut line, mut used) = (String::new(), 0);
        for (cell, width) in row.iter().zip(widths) {
            let room = columns.unwrap_or(usize::MAX).saturating_sub(used);
            let text = shortened(&cell.text, room);
            let padding = " ".repeat((width + GAP).saturating_sub(text.chars().count()));
            used += width + GAP;
            let tone = if coloured { cell.tone } else { Tone::Plain };
            line += &format!("{}{padding}", Toned(tone, &text));
        }
        line.trim_end().to_owned()
    };
    std::iter::once(&header).chain(rows).map(line).collect()
}

/// Blanks between two columns.
const GAP: usize = 2;

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Display) -> Self {
        Self::toned(Tone::Plain, text)
    }

    pub(crate) fn toned(tone: Tone, text: impl Display) -> Self {
        Self { text: printable(&text.to_string()), tone }
    }
}

/// Something for the user to know. There is nobody to tell when stderr is closed.
pub(crate) fn diagnostic(message: impl Display) {
    let _ = writeln!(io::stderr(), "fairlock: {message}");
}

/// In whole seconds. The server's clock may be ahead of ours.
pub(crate) fn age(since: SystemTime, now: SystemTime) -> String {
    let age = now.duration_since(since).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Cell, Tone, lines};

    fn table(columns: Option<usize>, coloured: bool) -> Vec<String> {
        let row = |state, label| [Cell::toned(Tone::Good, state), Cell::new(label)];
        lines(["STATE", "LABEL"], &[row("holds", "größe"), row("no", "a\tb")], columns, coloured)
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(table(None, false), ["STATE  LABEL", "holds  größe", "no     a\\tb"]);
        assert_eq!(table(Some(12), false), table(None, false));
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(table(Some(10), false), ["STATE  LA…", "holds  gr…", "no     a\\…"]);
        assert_eq!(table(Some(5), false), ["STATE", "holds", "no"]);
    }

    #[test]
    fn colours_take_no_room() {
        let plain = ["STATE  LABEL", "holds  größe", "no     a\\tb"];
        let stripped = table(Some(12), true).into_iter().map(|line| {
            let mut parts =
                line.split('\x1b').map(|part| part.split_once('m').map_or(part, |(_, text)| text));
            parts.by_ref().collect::<String>()
        });
        assert_eq!(stripped.collect::<Vec<_>>(), plain);
        assert!(table(None, true)[1].starts_with("\x1b[32mholds\x1b[0m  "));
    }
}
