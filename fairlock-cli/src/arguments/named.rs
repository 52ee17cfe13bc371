//! Which lock a command looks at.

use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use fairlock::{DistributedLock, EntryKind, LockService};

use crate::exit::{Failure, USAGE};
use crate::generate::lock_names;

/// A lock that is looked at. Of a semaphore it need not be said how many permits it has: its queue tells.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The semaphore of this name; how many permits it has does not matter here
    #[arg(long, value_name = "N", num_args = 0..=1)]
    pub(super) semaphore: Option<Option<String>>,

    /// The name of the lock
    #[arg(add = ArgValueCompleter::new(lock_names))]
    #[arg(required_unless_present = "semaphore")]
    pub(super) name: Option<String>,
}

impl Named {
    /// The lock. The name of a semaphore may stand where the number of its permits can.
    pub(crate) async fn find(&self, service: &dyn LockService) -> Result<Arc<dyn DistributedLock>, Failure> {
        let missing =
            || Failure::new(USAGE, "the name of the lock is missing, such as backup or --semaphore gpu");
        let (limit, name) = match (&self.semaphore, &self.name) {
            (None, Some(name)) => return Ok(service.exclusive(name)?),
            (Some(None), Some(name)) => (None, name),
            (Some(Some(limit)), Some(name)) => (Some(permits(limit)?), name),
            (Some(Some(name)), None) => (None, name),
            (Some(None) | None, None) => return Err(missing()),
        };
        match limit {
            Some(limit) => Ok(service.semaphore(name, limit)?),
            None => semaphore(service, name).await,
        }
    }
}

fn permits(text: &str) -> Result<u32, Failure> {
    let wrong = |_| Failure::new(USAGE, format!("--semaphore {text}: that is no number of permits"));
    text.parse().map_err(wrong)
}

/// The semaphore of this name, with the limit that those in its queue agree on.
async fn semaphore(service: &dyn LockService, name: &str) -> Result<Arc<dyn DistributedLock>, Failure> {
    let unknown = service.semaphore(name, 1)?;
    let first = unknown.queue().await?.into_iter().next();
    Ok(match first.map(|entry| entry.kind) {
        Some(EntryKind::Permits { limit, .. }) => service.semaphore(name, limit)?,
        _ => unknown,
    })
}
