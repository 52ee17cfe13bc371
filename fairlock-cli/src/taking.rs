//! How `fairlock run` gets what its program runs under.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, LockService, LockServiceExt, Result as LockResult, Turn};

use crate::arguments::RunOptions;
use crate::exit::Failure;
use crate::held::Held;
use crate::output;
use crate::progress::waiting;

pub(crate) enum Taken {
    Held(Held),
    NotInTime,
    /// The job has run, or is being run by somebody else.
    NotNeeded(String),
}

/// What is wanted: the lock of the name that was given first, then the others.
pub(crate) fn locks(
    service: &dyn LockService,
    options: &RunOptions,
) -> LockResult<Vec<Arc<dyn DistributedLock>>> {
    let first = std::iter::once_with(|| options.wanted.lock(service));
    first.chain(options.and.iter().map(|name| service.exclusive(name))).collect()
}

pub(crate) async fn take(
    service: &dyn LockService,
    locks: &[Arc<dyn DistributedLock>],
    options: &RunOptions,
) -> Result<Taken, Failure> {
    if let Some(period) = options.once_per {
        return begin(service, period, options).await;
    }
    let start = Instant::now();
    let held = waiting(&options.wanted, locks, acquire(service, locks, options)).await?;
    if let Some(held) = held.as_ref().filter(|_| options.wanted.verbose) {
        let waited = humantime::format_duration(Duration::from_millis(start.elapsed().as_millis() as u64));
        let token = held.guards()[0].fencing_token();
        output::diagnostic(format_args!("got {:?} after {waited}, token {token}", options.wanted.name));
    }
    Ok(held.map_or(Taken::NotInTime, Taken::Held))
}

/// Begins a run of the job, if it is due.
async fn begin(service: &dyn LockService, period: Duration, options: &RunOptions) -> Result<Taken, Failure> {
    let name = &options.wanted.name;
    let mut job = service.once(name, period)?.with_label(options.wanted.label());
    if options.again_if_unfinished {
        job = job.again_if_unfinished();
    }
    if options.again_if_failed {
        job = job.again_if_failed();
    }
    Ok(match job.begin().await? {
        Turn::Ran(run) => Taken::Held(Held::Job(run)),
        Turn::Busy => Taken::NotNeeded(format!("{name:?} is held: somebody else is at it")),
        Turn::NotDue(last) => {
            let began = humantime::format_rfc3339_seconds(last.started);
            Taken::NotNeeded(format!("{name:?} is not due: {} began it at {began}", last.by))
        }
    })
}

async fn acquire(
    service: &dyn LockService,
    locks: &[Arc<dyn DistributedLock>],
    options: &RunOptions,
) -> LockResult<Option<Held>> {
    let mut acquire = options.acquire();
    if let [lock] = locks {
        return Ok(lock.acquire_with(&acquire).await?.map(Held::Lock));
    }
    let permits = std::mem::replace(&mut acquire.permits, 1);
    let wanted = std::iter::once(permits).chain(std::iter::repeat(1));
    Ok(service.all(locks.iter().zip(wanted))?.acquire_with(&acquire).await?.map(Held::Several))
}
