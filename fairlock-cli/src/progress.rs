//! What `fairlock run --verbose` says while it waits.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use fairlock::{DistributedLock, EntryId, QueueEntry};

use crate::output::{age, diagnostic};
use crate::terminal::{CLEAR_LINE, printable, shortened, size};

/// Follows our entry through its queue: on a terminal with one line that changes, elsewhere with a line for each
/// change.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    own: Option<EntryId>,
    last: String,
}

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often to look for our entry.
const SEARCH: Duration = Duration::from_millis(50);

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), own: None, last: String::new() }
    }

    /// Shows where the entry with this label stands, again and again.
    pub(crate) async fn follow(&mut self, lock: &dyn DistributedLock, label: &str) -> ! {
        loop {
            // Whoever waits for the lock learns of the trouble that there may be.
            if let Ok(queue) = lock.queue().await {
                self.show(lock.name().as_str(), label, &queue);
            }
            tokio::time::sleep(if self.own.is_some() { INTERVAL } else { SEARCH }).await;
        }
    }

    fn show(&mut self, name: &str, label: &str, queue: &[QueueEntry]) {
        if self.own.is_none() {
            // Others may have the same label, but we have only just come.
            self.own = queue.iter().rfind(|entry| entry.label == label).map(|entry| entry.id.clone());
        }
        let own = |entry: &&QueueEntry| self.own.as_ref() == Some(&entry.id);
        let Some(position) = queue.iter().find(own).filter(|own| !own.holds).map(|own| own.position) else {
            return;
        };
        let now = SystemTime::now();
        let waiting = |now| format!("waiting for {name:?}: {position} ahead, {}", holding(queue, now));
        if self.terminal {
            redraw(&waiting(Some(now)));
        } else if waiting(None) != self.last {
            diagnostic(waiting(Some(now)));
            self.last = waiting(None);
        }
    }
}

/// Who holds, and, at this time, for how long already.
fn holding(queue: &[QueueEntry], now: Option<SystemTime>) -> String {
    let holders: Vec<&QueueEntry> = queue.iter().filter(|entry| entry.holds).collect();
    let Some(first) = holders.first() else { return "nobody holds it".to_owned() };
    let since = first.since.zip(now).map(|(since, now)| format!(" for {}", age(since, now)));
    let others = match holders.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    format!("held by {}{others}{}", printable(&first.label), since.unwrap_or_default())
}

fn redraw(line: &str) {
    let columns = size(&io::stderr()).map_or(usize::MAX, |(columns, _)| columns - 1);
    // There is nobody to tell when stderr is closed.
    let _ = write!(io::stderr(), "{CLEAR_LINE}{}", shortened(&format!("fairlock: {line}"), columns));
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.own.is_some() {
            let _ = write!(io::stderr(), "{CLEAR_LINE}");
        }
    }
}

/// A line on the terminal that says what goes on, and disappears at the end; nothing elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Line {
    shown: bool,
}

impl Line {
    pub(crate) fn show(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            redraw(text);
            self.shown = true;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "{CLEAR_LINE}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use fairlock::{EntryId, EntryKind, FencingToken, LockKind, QueueEntry};
    use lockcore::EntryDetails;

    use super::holding;

    fn queue(kinds: &[EntryKind]) -> Vec<QueueEntry> {
        let entry = |(kind, label): (&EntryKind, char)| EntryDetails {
            id: EntryId::random(),
            kind: *kind,
            token: FencingToken::new(1),
            label: label.to_string(),
            since: Some(UNIX_EPOCH),
        };
        fairlock::QueueView::new(kinds.iter().zip('a'..).map(entry).collect(), LockKind::Exclusive).entries
    }

    #[test]
    fn holders_are_told_from_waiters() {
        let now = Some(UNIX_EPOCH + Duration::from_secs(65));
        let exclusive = queue(&[EntryKind::Exclusive, EntryKind::Exclusive]);
        assert_eq!(holding(&exclusive, now), "held by a for 1m 5s");
        let shared = queue(&[EntryKind::Shared, EntryKind::Shared, EntryKind::Shared, EntryKind::Exclusive]);
        assert_eq!(holding(&shared, None), "held by a and 2 more");
        assert_eq!(holding(&[], now), "nobody holds it");
    }
}
