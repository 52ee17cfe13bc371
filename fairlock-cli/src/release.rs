//! `fairlock release`: an operator takes somebody's place away.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use fairlock::{LockService, QueueEntry};

use crate::arguments::ReleaseOptions;
use crate::exit::{Failure, NOT_THERE, USAGE};
use crate::output::{self, age};
use crate::service::looking;
use crate::terminal::printable;

pub(crate) async fn release(url: Option<&str>, options: &ReleaseOptions) -> Result<ExitCode, Failure> {
    looking(url, async |service| evict(service, options).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn evict(service: &dyn LockService, options: &ReleaseOptions) -> Result<(), Failure> {
    let lock = options.lock().find(service).await?;
    let (name, id) = (lock.name().as_str(), options.id());
    let gone = || Failure::new(NOT_THERE, format!("{id:?} is not in the queue of {name:?}"));
    let is_meant = |entry: &QueueEntry| entry.id.as_str() == id || entry.token.to_string() == id;
    let entry = lock.queue().await?.into_iter().find(is_meant).ok_or_else(gone)?;
    let question = question(name, &entry, SystemTime::now());
    if !options.yes
        && !tokio::task::spawn_blocking(move || ask(&question)).await.map_err(io::Error::from)??
    {
        return Err(Failure::new(NOT_THERE, "nothing was removed"));
    }
    if !lock.evict(&entry.id).await? {
        return Err(gone());
    }
    output::line(format_args!("removed from {name:?}: {}", printable(&entry.label)))?;
    Ok(())
}

pub(crate) fn question(name: &str, entry: &QueueEntry, now: SystemTime) -> String {
    let does = if entry.holds { "holds it" } else { "waits" };
    let since = entry.since.map(|since| format!(" ({})", age(since, now))).unwrap_or_default();
    let label = printable(&entry.label);
    format!("Take {name:?} away from {label}, which {does}{since}? [y/N] ")
}

/// Asks on the terminal, wherever the input comes from and the output goes.
fn ask(question: &str) -> Result<bool, Failure> {
    let none = |_| Failure::new(USAGE, "there is no terminal to ask on: --yes removes without a question");
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(none)?;
    terminal.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
