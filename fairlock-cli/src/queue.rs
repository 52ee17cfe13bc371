//! `fairlock queue`: who holds and who waits.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlock::{DistributedLock, DistributedLockExt, EntryKind, LockService, QueueEntry};
use serde::Serialize;

use crate::arguments::QueueOptions;
use crate::exit::Failure;
use crate::output::{self, Cell, age};
use crate::service::looking;
use crate::terminal::{CLEAR_SCREEN, Tone, coloured, size};

pub(crate) async fn queue(url: Option<&str>, options: &QueueOptions) -> Result<ExitCode, Failure> {
    looking(url, async |service| show(service, options).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn show(service: &dyn LockService, options: &QueueOptions) -> Result<(), Failure> {
    let lock = options.lock.find(service).await?;
    if options.watch {
        return watch(&lock, options.json).await;
    }
    let entries = lock.queue().await?;
    if options.json {
        return Ok(output::json(&rows(&entries))?);
    }
    Ok(output::table(HEADER, &cells(&entries, SystemTime::now()))?)
}

/// Shows every change until somebody interrupts it, or the service cannot be reached.
async fn watch(lock: &Arc<dyn DistributedLock>, json: bool) -> Result<(), Failure> {
    /// How often a terminal is told how old the entries are.
    const INTERVAL: Duration = Duration::from_millis(500);
    let mut views = lock.watch_queue();
    let mut view = views.next().await?;
    loop {
        match size(&io::stdout()) {
            Some(size) if !json => {
                redraw(lock.name().as_str(), &view, size)?;
                if let Ok(changed) = tokio::time::timeout(INTERVAL, views.next()).await {
                    view = changed?;
                }
                continue;
            }
            _ if json => output::line(serde_json::to_string(&rows(&view)).map_err(io::Error::from)?)?,
            _ => {
                output::table(HEADER, &cells(&view, SystemTime::now()))?;
                output::line("")?;
            }
        }
        view = views.next().await?;
    }
}

/// The terminal's whole screen: the queue, or as much of it as there is room for.
fn redraw(name: &str, entries: &[QueueEntry], (columns, screen): (usize, usize)) -> io::Result<()> {
    let title = format!("{name:?}: {} in the queue, Ctrl-C ends this", entries.len());
    let cells = cells(entries, SystemTime::now());
    let mut lines = vec![crate::terminal::shortened(&title, columns), String::new()];
    lines.extend(output::lines(HEADER, &cells, Some(columns), coloured(&io::stdout())));
    let room = screen.saturating_sub(1);
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.push("…".to_owned());
    }
    output::line(format_args!("{CLEAR_SCREEN}{}", lines.join("\n")))
}

const HEADER: [&str; 6] = ["POSITION", "STATE", "KIND", "TOKEN", "SINCE", "LABEL"];

fn cells(entries: &[QueueEntry], now: SystemTime) -> Vec<[Cell; 6]> {
    let cells = |entry: &QueueEntry| {
        let QueueEntry { position, holds, kind, token, label, since, .. } = entry;
        let state = if *holds { Cell::toned(Tone::Good, "holds") } else { Cell::toned(Tone::Idle, "waits") };
        let since = since.map_or("-".to_owned(), |since| age(since, now));
        [Cell::new(position), state, Cell::new(kind), Cell::new(token), Cell::new(since), Cell::new(label)]
    };
    entries.iter().map(cells).collect()
}

pub(crate) fn rows(entries: &[QueueEntry]) -> Vec<Row<'_>> {
    entries.iter().map(Row::from).collect()
}

/// One entry in JSON. Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
pub(crate) struct Row<'e> {
    position: usize,
    holds: bool,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    token: u64,
    id: &'e str,
    since: Option<String>,
    label: &'e str,
    host: Option<&'e str>,
    pid: Option<u32>,
}

impl<'e> From<&'e QueueEntry> for Row<'e> {
    fn from(entry: &'e QueueEntry) -> Self {
        let (kind, permits, limit) = match entry.kind {
            EntryKind::Exclusive => ("exclusive", None, None),
            EntryKind::Shared => ("shared", None, None),
            EntryKind::Permits { permits, limit } => ("semaphore", Some(permits), Some(limit)),
        };
        Self {
            position: entry.position,
            holds: entry.holds,
            kind,
            permits,
            limit,
            token: entry.token.get(),
            id: entry.id.as_str(),
            since: entry.since.map(|since| humantime::format_rfc3339_millis(since).to_string()),
            label: &entry.label,
            host: entry.host.as_deref(),
            pid: entry.pid,
        }
    }
}
