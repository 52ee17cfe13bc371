//! How much there can be: waiters of one process, and locks that are held and left alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, DistributedLockExt, LockService};
use futures::stream::{StreamExt, TryStreamExt, iter};

use super::case::{kind_of, limit, whole};
use super::fanout::until_queued;
use super::meter::{Meter, Usage};
use super::options::{BenchOptions, Kind, REST, Row};
use super::order::judge;
use super::place::{Place, resident};
use super::report::Growth;
use super::turn::{Clock, Contender, Ours, Release, join};
use crate::exit::Failure;
use crate::service::{acquire, close_all, release};

/// Measures one of the rows, for one kind.
pub(super) async fn measure(
    row: Row,
    kind: Kind,
    place: &Place,
    options: &BenchOptions,
    show: &mut impl FnMut(&str),
) -> Result<Growth, Failure> {
    let services = place.services(1).await?;
    let measured = match row {
        Row::Held => held(kind, place, &services[0], options, show).await,
        _ => waiters(kind, place, &services[0], options.many, show).await,
    };
    close_all(&services).await;
    measured
}

/// So many tasks wait for one lock; then they get it, one after the other.
async fn waiters(
    kind: Kind,
    place: &Place,
    service: &Arc<dyn LockService>,
    many: u32,
    show: &mut impl FnMut(&str),
) -> Result<Growth, Failure> {
    let limit = limit(Row::Waiters, kind, many);
    let lock = |contender| place.lock(&**service, kind_of(Row::Waiters, kind, contender), limit, 0);
    let (clock, before) = (Clock::start(), place.resident());
    // The first one keeps all others out: whoever shares comes second.
    let first = lock(1)?;
    let guard = acquire(&*first, &whole(kind, limit)).await?;
    show("they queue");
    let start = Instant::now();
    let locks = (0..many).map(lock).collect::<Result<Vec<_>, Failure>>()?;
    let tasks: Vec<_> = locks
        .into_iter()
        .map(|lock| tokio::spawn(async move { Ours::new(lock, Release::Awaited).turn(clock).await }))
        .collect();
    until_queued(&*first, many as usize + 1).await?;
    let (queued, memory) = (start.elapsed(), resident());
    show("they take turns");
    let start = Instant::now();
    release(guard).await?;
    let turns = join(tasks).await?;
    let took = start.elapsed();
    Ok(Growth {
        row: Row::Waiters.name(),
        kind: kind.name(),
        n: many,
        seconds_to_queue: queued.as_secs_f64(),
        memory_bytes_each: each(before, memory, many),
        grants_per_second: Some(f64::from(many) / took.as_secs_f64()),
        overtaking: Some(judge(limit, turns).overtaking),
        requests_per_second: None,
        commands_per_second: None,
        bytes_per_second: None,
        server_cpu_ms_per_second: None,
    })
}

/// So many locks are held, and nothing else happens.
async fn held(
    kind: Kind,
    place: &Place,
    service: &Arc<dyn LockService>,
    options: &BenchOptions,
    show: &mut impl FnMut(&str),
) -> Result<Growth, Failure> {
    /// How many requests are under way at once.
    const AT_ONCE: usize = 64;
    /// Until the eyes on the entries are open, which are watched from the second second on.
    const SETTLE: Duration = Duration::from_secs(3);
    let (many, before, start) = (options.many, place.resident(), Instant::now());
    show("they are taken");
    let acquire = |number| async move {
        let lock: Arc<dyn DistributedLock> =
            place.lock(&**service, kind, limit(Row::Held, kind, many), number)?;
        Ok::<_, Failure>(lock.acquire().await?)
    };
    let guards: Vec<_> = iter(0..many).map(acquire).buffer_unordered(AT_ONCE).try_collect().await?;
    let queued = start.elapsed();
    tokio::time::sleep(SETTLE).await;
    show("they are held");
    let (memory, mut meter, start) = (resident(), Meter::new(place.url()).await, Instant::now());
    let began = meter.read().await;
    tokio::time::sleep(options.time * REST).await;
    let Usage { requests, commands, bytes, cpu } =
        meter.read().await.since(began).per(start.elapsed().as_secs_f64());
    iter(guards).map(release).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(Growth {
        row: Row::Held.name(),
        kind: kind.name(),
        n: many,
        seconds_to_queue: queued.as_secs_f64(),
        memory_bytes_each: each(before, memory, many),
        grants_per_second: None,
        overtaking: None,
        requests_per_second: requests,
        commands_per_second: commands,
        bytes_per_second: bytes,
        server_cpu_ms_per_second: cpu.map(|seconds| seconds * 1e3),
    })
}

fn each(before: Option<u64>, now: Option<u64>, many: u32) -> Option<f64> {
    Some(now?.saturating_sub(before?) as f64 / f64::from(many))
}
