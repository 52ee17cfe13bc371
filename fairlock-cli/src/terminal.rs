//! What a terminal shows and a file does not: colours, lines of limited length, lines that change.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::{Winsize, tcgetwinsize};

/// Whether to use colours there: on a terminal that has some, unless the user wants none
/// (<https://no-color.org>).
pub(crate) fn coloured(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The columns and rows of a terminal; `None` for everything else.
pub(crate) fn size(stream: &impl AsFd) -> Option<(usize, usize)> {
    let Winsize { ws_col, ws_row, .. } = tcgetwinsize(stream).ok()?;
    (ws_col > 0 && ws_row > 0).then_some((ws_col.into(), ws_row.into()))
}

/// Removes the line that the cursor is in.
pub(crate) const CLEAR_LINE: &str = "\r\x1b[2K";
/// Removes everything, and goes to the top.
pub(crate) const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// What a word means, by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Good,
    Bad,
    Idle,
}

/// A text in its colour.
pub(crate) struct Toned<'t>(pub(crate) Tone, pub(crate) &'t str);

impl fmt::Display for Toned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tone, text) = self;
        let code = match tone {
            Tone::Plain => return f.write_str(text),
            Tone::Heading => 1,
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Idle => 33,
        };
        write!(f, "\x1b[{code}m{text}\x1b[0m")
    }
}

/// As much of a text as fits into a line of so many columns.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept = text.chars().take(columns.saturating_sub(1));
    kept.chain(['…']).take(columns).collect()
}

/// Names and labels come from anybody, and could move the cursor of the terminal.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::{Tone, Toned, printable, shortened};

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        for (columns, expected) in [(9, "größe 🔒"), (7, "größe 🔒"), (6, "größe…"), (1, "…"), (0, "")]
        {
            assert_eq!(shortened("größe 🔒", columns), expected, "{columns}");
        }
    }

    #[test]
    fn controls_are_shown() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn colours_end_where_the_text_ends() {
        assert_eq!(Toned(Tone::Good, "a").to_string(), "\x1b[32ma\x1b[0m");
        assert_eq!(Toned(Tone::Plain, "a").to_string(), "a");
    }
}
