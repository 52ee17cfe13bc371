//! One departure that lets many in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{AcquireOptions, DistributedLock, DistributedLockExt, LockGuard};
use futures::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::floor::Bare;
use super::measure::Sample;
use super::meter::{Meter, Usage};
use super::turn::{Clock, join};
use crate::exit::{Failure, NOT_IN_TIME};
use crate::service::{acquire, release};

/// What was seen of one departure.
struct Departure {
    /// When it began.
    left: u64,
    /// When each of those behind it was let in.
    granted: Vec<u64>,
    /// What the server did for it.
    usage: Usage,
}

/// Lets `readers` in by the departure of `writer`, which takes the whole lock, again and again.
pub(super) async fn ours(
    writer: &Arc<dyn DistributedLock>,
    whole: &AcquireOptions,
    readers: &[Arc<dyn DistributedLock>],
    time: Duration,
    meter: &mut Meter,
) -> Result<Sample, Failure> {
    let (start, mut departures) = (Instant::now(), Vec::new());
    while departures.is_empty() || start.elapsed() < time {
        departures.push(depart(&**writer, whole, readers, meter).await?);
    }
    Ok(sample(&departures))
}

async fn depart(
    writer: &dyn DistributedLock,
    whole: &AcquireOptions,
    readers: &[Arc<dyn DistributedLock>],
    meter: &mut Meter,
) -> Result<Departure, Failure> {
    let clock = Clock::start();
    let guard = acquire(writer, whole).await?;
    let reading = readers.iter().cloned().map(|reader| {
        tokio::spawn(async move {
            let guard = reader.acquire().await?;
            Ok::<(LockGuard, u64), Failure>((guard, clock.now()))
        })
    });
    let reading: Vec<_> = reading.collect();
    until_queued(writer, readers.len() + 1).await?;
    let before = meter.read().await;
    let left = clock.now();
    release(guard).await?;
    let read = join(reading).await?;
    let usage = meter.read().await.since(before);
    let (guards, granted): (Vec<LockGuard>, Vec<u64>) = read.into_iter().unzip();
    join_all(guards.into_iter().map(release)).await.into_iter().collect::<Result<(), Failure>>()?;
    Ok(Departure { left, granted, usage })
}

/// Waits until so many entries are in the queue.
pub(super) async fn until_queued(lock: &dyn DistributedLock, entries: usize) -> Result<(), Failure> {
    const PAUSE: Duration = Duration::from_millis(5);
    const PATIENCE: Duration = Duration::from_secs(60);
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let asked = Instant::now();
        let now = match lock.queue().await {
            Ok(queue) => queue.len(),
            // The service has its hands full.
            Err(error) if error.is_retryable() => seen,
            Err(error) => return Err(error.into()),
        };
        if now >= entries {
            return Ok(());
        }
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            let message = format!("{now} of {entries} entries are in the queue, and no more come");
            return Err(Failure::new(NOT_IN_TIME, message));
        }
        // A long queue takes long to read, and those who queue should have most of the time.
        tokio::time::sleep(PAUSE.max(asked.elapsed() * 4)).await;
    }
}

/// The same with nothing but requests: whoever leaves makes one, then each of the others makes one. The first is the writer.
pub(super) async fn bare(
    clients: &mut Vec<Bare>,
    time: Duration,
    meter: &mut Meter,
) -> Result<Sample, Failure> {
    let (start, mut departures) = (Instant::now(), Vec::new());
    while departures.is_empty() || start.elapsed() < time {
        departures.push(depart_bare(clients, meter).await?);
    }
    Ok(sample(&departures))
}

async fn depart_bare(clients: &mut Vec<Bare>, meter: &mut Meter) -> Result<Departure, Failure> {
    try_join_all(clients.iter_mut().map(Bare::enter)).await?;
    let clock = Clock::start();
    let mut readers = clients.split_off(1).into_iter();
    let (gone, is_gone) = watch::channel(false);
    let reading: Vec<_> = readers
        .by_ref()
        .map(|mut reader| {
            let mut is_gone = is_gone.clone();
            tokio::spawn(async move {
                // The sender stays until all are through.
                let _ = is_gone.wait_for(|gone| *gone).await;
                reader.leave().await?;
                Ok::<(Bare, u64), Failure>((reader, clock.now()))
            })
        })
        .collect();
    let before = meter.read().await;
    let left = clock.now();
    try_join_all(clients.iter_mut().map(Bare::leave)).await?;
    gone.send_replace(true);
    let read = join(reading).await?;
    let usage = meter.read().await.since(before);
    let (readers, granted): (Vec<Bare>, Vec<u64>) = read.into_iter().unzip();
    clients.extend(readers);
    Ok(Departure { left, granted, usage })
}

fn sample(departures: &[Departure]) -> Sample {
    let mut handover: Vec<u64> = departures
        .iter()
        .flat_map(|departure| departure.granted.iter().map(|granted| granted.saturating_sub(departure.left)))
        .collect();
    handover.sort_unstable();
    let last = |departure: &Departure| {
        departure.granted.iter().max().map_or(0, |last| last.saturating_sub(departure.left))
    };
    let took: u64 = departures.iter().map(last).sum();
    let early =
        |departure: &Departure| departure.granted.iter().filter(|granted| **granted < departure.left).count();
    let grants = handover.len() as f64;
    let usage = departures.iter().map(|departure| departure.usage).reduce(Usage::plus).unwrap_or_default();
    Sample {
        rate: grants / (took as f64 / 1e9),
        acquire: Vec::new(),
        cycle: Vec::new(),
        handover,
        grants: Vec::new(),
        overtaking: departures.iter().map(early).sum::<usize>() as u64,
        usage: usage.per(grants),
    }
}
