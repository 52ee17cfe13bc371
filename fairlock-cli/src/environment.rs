//! What a program finds in its environment of the locks that it runs under.

use std::sync::Arc;

use fairlock::{DistributedLock, FencingToken, LockKind};
use serde::{Deserialize, Serialize};

use crate::contact::call;
use crate::exit::{Failure, USAGE};

/// A list of what is held around a process, the outermost first.
pub(crate) const HELD: &str = "FAIRLOCK_HELD";

/// A lock that is held around a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outer {
    place: String,
    /// Whether it is a semaphore: those have queues of their own.
    semaphore: bool,
    pub(crate) name: String,
    token: FencingToken,
    /// The socket of who holds it in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<String>,
    /// The open file of the shell that the lock stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fd: Option<i32>,
}

impl Outer {
    pub(crate) fn new(lock: &dyn DistributedLock, token: FencingToken) -> Self {
        let (place, name) = (lock.place(), lock.name().to_string());
        Self { place, semaphore: is_semaphore(lock), name, token, holder: None, fd: None }
    }

    /// The same, held in the background for a shell.
    pub(crate) fn held_by(self, holder: String, fd: Option<i32>) -> Self {
        Self { holder: Some(holder), fd, ..self }
    }

    /// Whether a holder in the background is still there, if there was one.
    fn is_current(&self) -> bool {
        self.holder.as_deref().is_none_or(|holder| matches!(call(holder), Ok(Some(_))))
    }

    fn is(&self, lock: &dyn DistributedLock) -> bool {
        let key = (&*self.place, self.semaphore, &*self.name);
        key == (&*lock.place(), is_semaphore(lock), lock.name().as_str())
    }
}

fn is_semaphore(lock: &dyn DistributedLock) -> bool {
    matches!(lock.kind(), LockKind::Semaphore { .. })
}

/// What is held around this process, as far as the environment tells.
pub(crate) fn outer() -> Vec<Outer> {
    std::env::var(HELD).ok().and_then(|held| serde_json::from_str(&held).ok()).unwrap_or_default()
}

/// The variables of a program that runs under these locks as well. The others tell of the first.
pub(crate) fn variables(
    url: &str,
    lock: &dyn DistributedLock,
    id: &str,
    inner: Vec<Outer>,
) -> Result<Vec<(String, String)>, Failure> {
    let token = inner.first().map(|outer| outer.token.to_string()).unwrap_or_default();
    let held: Vec<Outer> = outer().into_iter().filter(Outer::is_current).chain(inner).collect();
    let held = serde_json::to_string(&held).map_err(std::io::Error::from)?;
    let kind = match lock.kind() {
        LockKind::Exclusive => "exclusive",
        LockKind::Shared => "shared",
        LockKind::Semaphore { .. } => "semaphore",
    };
    let variables = [
        (fairlock::Config::ENV, url),
        ("FAIRLOCK_NAME", lock.name().as_str()),
        ("FAIRLOCK_KIND", kind),
        ("FAIRLOCK_ID", id),
        ("FAIRLOCK_TOKEN", &token),
        (HELD, &held),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// Fails if one of these locks is held around this process: waiting for it would be waiting for ourselves.
///
/// The environment may be older than that. What it tells of is held as long as its entry is in the queue.
pub(crate) async fn refuse_nested(locks: &[Arc<dyn DistributedLock>]) -> Result<(), Failure> {
    for outer in outer() {
        let Some(lock) = locks.iter().find(|lock| outer.is(&***lock)) else { continue };
        if lock.queue().await?.iter().any(|entry| entry.holds && entry.token == outer.token) {
            let message = format!(
                "{:?} is held by the command that this one was started by, which waits for it: they would wait for each \
                 other for ever (--allow-nested waits all the same)",
                outer.name
            );
            return Err(Failure::new(USAGE, message));
        }
    }
    Ok(())
}
