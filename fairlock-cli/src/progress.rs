//! What is said while a lock is waited for.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlock::{DistributedLock, EntryId, QueueEntry};
use tokio::time::Instant;

use crate::arguments::Wanted;
use crate::output::{age, diagnostic};
use crate::terminal::{CLEAR_LINE, printable, shortened, size};

/// Waits for these locks, and says what it waits for: with `--verbose` from the beginning, else a terminal is told after a second.
pub(crate) async fn waiting<T>(
    wanted: &Wanted,
    locks: &[Arc<dyn DistributedLock>],
    acquired: impl Future<Output = T>,
) -> T {
    let terminal = io::stderr().is_terminal();
    if wanted.quiet || !(wanted.verbose || terminal) {
        return acquired.await;
    }
    let start = Instant::now();
    let shown_from = if wanted.verbose { start } else { start + PATIENCE };
    let own = vec![None; locks.len()];
    let (label, last) = (wanted.label(), String::new());
    let mut progress = Progress { terminal, start, shown_from, label, own, last, line: Line::default() };
    tokio::select! {
        biased;
        taken = acquired => taken,
        never = progress.follow(locks) => never,
    }
}

/// How long a terminal may wait for an answer without being told why.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often to look for our entry.
const SEARCH: Duration = Duration::from_millis(50);

/// Follows our entries through their queues: on a terminal with one line that changes, elsewhere with a line for each
/// change.
#[derive(Debug)]
struct Progress {
    terminal: bool,
    start: Instant,
    shown_from: Instant,
    label: String,
    /// In each queue.
    own: Vec<Option<EntryId>>,
    last: String,
    line: Line,
}

impl Progress {
    /// Shows where our entries stand, again and again.
    async fn follow(&mut self, locks: &[Arc<dyn DistributedLock>]) -> ! {
        loop {
            for (number, lock) in locks.iter().enumerate() {
                // Whoever waits for the lock learns of the trouble that there may be.
                if let Ok(queue) = lock.queue().await {
                    self.show(number, lock.name().as_str(), &queue);
                }
            }
            let (found, now) = (self.own.iter().any(Option::is_some), Instant::now());
            let pause = match self.shown_from.saturating_duration_since(now) {
                _ if !found => SEARCH,
                Duration::ZERO => INTERVAL,
                silent => silent,
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn show(&mut self, number: usize, name: &str, queue: &[QueueEntry]) {
        let own = &mut self.own[number];
        if own.is_none() {
            // Others may have the same label, but not be the same process; and we have only just come.
            let is_ours =
                |entry: &&QueueEntry| entry.label == self.label && entry.pid == Some(std::process::id());
            *own = queue.iter().rfind(is_ours).map(|entry| entry.id.clone());
        }
        let own = queue.iter().find(|entry| own.as_ref() == Some(&entry.id)).filter(|own| !own.holds);
        let Some(position) = own.map(|own| own.position).filter(|_| self.shown_from <= Instant::now()) else {
            return;
        };
        let now = SystemTime::now();
        let behind = |now| format!("{name:?}: {position} ahead, {}", holding(queue, now));
        if self.terminal {
            let waited = humantime::format_duration(Duration::from_secs(self.start.elapsed().as_secs()));
            self.line.show(&format!("waited {waited} for {}", behind(Some(now))));
        } else if behind(None) != self.last {
            diagnostic(format_args!("waiting for {}", behind(Some(now))));
            self.last = behind(None);
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
