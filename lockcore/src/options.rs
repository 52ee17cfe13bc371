//! How to acquire a lock.

use std::sync::Arc;
use std::time::Duration;

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wait {
    /// Until it is had. Servers that are out of reach, and sessions that are lost, are waited through.
    #[default]
    Forever,
    /// For this long, from the first poll, and never less for want of a server; up to half a second more if the server
    /// does not confirm the end of the wait. Zero is [`Never`](Self::Never), `Duration::MAX` is
    /// [`Forever`](Self::Forever).
    ///
    /// Not in time means that our entry was in the queue when last heard of. If nothing was heard of it, because no
    /// server answered, the wait ends with [`Unreachable`](crate::ErrorKind::Unreachable).
    For(Duration),
    /// Not for the lock, only for the server to say whether it is free: for its connect timeout at most. No answer by
    /// then is [`Unreachable`](crate::ErrorKind::Unreachable).
    Never,
}

/// How to acquire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcquireOptions {
    /// How long to wait.
    pub wait: Wait,
    /// Who waits, for people who look at the queue: at most 512 bytes. Default: the host's name and the process id.
    pub label: Option<Arc<str>>,
    /// How many permits of a semaphore to take, all at once: 1, or up to its limit.
    pub permits: u32,
    /// What to do when the session is lost while waiting, and the place in the queue with it: queue again, behind all
    /// others (the default), or end with [`SessionLost`](crate::ErrorKind::SessionLost), for those to whom their place
    /// matters.
    pub requeue: bool,
    /// Not to wait behind more than so many: an acquisition that finds more entries in front of its own, holders among them, ends at once
    /// as one that was not had in time. Who is in the queue when somebody else asks stays in front of him, so this is looked at once,
    /// with one more request.
    pub max_ahead: Option<usize>,
    /// What programs read of the entry, beside the label, which is for people: at most 512 bytes. A candidate of an
    /// [election](crate::Election) says with it that it is one, and who it is.
    pub value: Option<Arc<str>>,
}

impl Default for AcquireOptions {
    fn default() -> Self {
        Self { wait: Wait::Forever, label: None, permits: 1, requeue: true, max_ahead: None, value: None }
    }
}

impl AcquireOptions {
    /// Wait for ever, for one permit, with the default label.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait.
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Who waits.
    #[must_use]
    pub fn with_label(self, label: impl AsRef<str>) -> Self {
        Self { label: Some(label.as_ref().into()), ..self }
    }

    /// How many permits.
    #[must_use]
    pub fn with_permits(self, permits: u32) -> Self {
        Self { permits, ..self }
    }

    /// Whether to queue again, behind all others, when the session is lost while waiting.
    #[must_use]
    pub fn with_requeue(self, requeue: bool) -> Self {
        Self { requeue, ..self }
    }

    /// Not to wait behind more than so many.
    #[must_use]
    pub fn with_max_ahead(self, most: usize) -> Self {
        Self { max_ahead: Some(most), ..self }
    }

    /// What programs read of the entry.
    #[must_use]
    pub fn with_value(self, value: impl AsRef<str>) -> Self {
        Self { value: Some(value.as_ref().into()), ..self }
    }
}
