//! `fairlock queue`: who holds and who waits.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use fairlock::{EntryKind, QueueEntry};
use serde::Serialize;

use crate::arguments::QueueOptions;
use crate::exit::Failure;
use crate::output;
use crate::service::{close, connect};

pub(crate) async fn queue(url: Option<&str>, options: &QueueOptions) -> Result<ExitCode, Failure> {
    let service = connect(url).await?;
    let lock = match options.semaphore {
        Some(limit) => service.semaphore(&options.name, limit.unwrap_or(1))?,
        None => service.exclusive(&options.name)?,
    };
    let entries = lock.queue().await;
    close(&*service).await;
    show(&entries?, options.json)?;
    Ok(ExitCode::SUCCESS)
}

fn show(entries: &[QueueEntry], json: bool) -> std::io::Result<()> {
    if json {
        return output::json(&entries.iter().map(Row::from).collect::<Vec<_>>());
    }
    let header = ["POSITION", "STATE", "KIND", "TOKEN", "SINCE", "LABEL"];
    let rows: Vec<_> = entries.iter().map(|entry| cells(entry, SystemTime::now())).collect();
    output::table(header, &rows)
}

fn cells(entry: &QueueEntry, now: SystemTime) -> [String; 6] {
    let QueueEntry { position, holds, kind, token, label, since, .. } = entry;
    let state = if *holds { "holds" } else { "waits" };
    let since = since.map_or("-".to_owned(), |since| age(since, now));
    [position.to_string(), state.to_owned(), kind.to_string(), token.to_string(), since, label.clone()]
}

/// In whole seconds. The server's clock may be ahead of ours.
fn age(since: SystemTime, now: SystemTime) -> String {
    let age = now.duration_since(since).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

/// One entry in JSON. Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
struct Row<'e> {
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
        }
    }
}
