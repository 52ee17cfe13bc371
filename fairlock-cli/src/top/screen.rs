//! What `fairlock top` draws.

use std::time::SystemTime;

use fairlock::QueueEntry;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row as Drawn, Table};

use super::{Row, Top};
use crate::output::age;
use crate::release::question;
use crate::terminal::printable;

const LIST_KEYS: &str = "↑↓ choose  Enter look into it  q quit";
const QUEUE_KEYS: &str = "↑↓ choose  x take it away  Esc back  q quit";

impl Top<'_> {
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [title, middle, bottom] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
                .areas(frame.area());
        let now = SystemTime::now();
        frame.render_widget(Line::styled(self.title(), Style::new().bold()), title);
        frame.render_widget(Line::styled(self.bottom(now), Style::new().reversed()), bottom);
        let table = match self.opened() {
            Some((_, queue)) => queue_table(queue, now),
            None => lock_table(&self.rows),
        };
        let chosen = self.open.as_mut().map_or(&mut self.chosen, |(_, chosen)| chosen);
        frame.render_stateful_widget(table.row_highlight_style(Style::new().reversed()), middle, chosen);
    }

    fn title(&self) -> String {
        match self.opened() {
            Some((key, queue)) => format!("{}: {} in the queue", printable(&key.to_string()), queue.len()),
            None => format!("{}: {} locks in use", self.service, self.rows.len()),
        }
    }

    fn bottom(&self, now: SystemTime) -> String {
        let keys = if self.open.is_some() { QUEUE_KEYS } else { LIST_KEYS };
        match (&self.question, self.opened(), &self.trouble) {
            (Some(entry), Some((key, _)), _) => question(key.name.as_str(), entry, now),
            (_, _, Some(trouble)) => printable(trouble),
            _ => keys.to_owned(),
        }
    }
}

fn lock_table(rows: &[Row]) -> Table<'static> {
    let drawn = rows.iter().map(|row| {
        let holders: Vec<&QueueEntry> = row.queue.iter().filter(|entry| entry.holds).collect();
        let first = holders.first().map(|holder| printable(&holder.label)).unwrap_or_default();
        let (family, name) = (row.key.family.to_string(), printable(row.key.name.as_str()));
        Drawn::new([row.waiters().to_string(), holders.len().to_string(), family, name, first])
    });
    let widths = [
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(9),
        Constraint::Fill(2),
        Constraint::Fill(1),
    ];
    Table::new(drawn, widths).header(header(["WAITING", "HOLDS", "FAMILY", "NAME", "HOLDER"]))
}

fn queue_table(queue: &[QueueEntry], now: SystemTime) -> Table<'static> {
    let drawn = queue.iter().map(|entry| {
        let since = entry.since.map_or("-".to_owned(), |since| age(since, now));
        let state = if entry.holds { "holds" } else { "waits" };
        Drawn::new([
            state.to_owned(),
            entry.kind.to_string(),
            since,
            printable(entry.host.as_deref().unwrap_or("-")),
            entry.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            printable(&entry.label),
        ])
    });
    let widths = [
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Fill(2),
    ];
    Table::new(drawn, widths).header(header(["STATE", "KIND", "SINCE", "HOST", "PID", "LABEL"]))
}

fn header<const N: usize>(words: [&'static str; N]) -> Drawn<'static> {
    Drawn::new(words.map(Cell::from)).style(Style::new().underlined())
}
