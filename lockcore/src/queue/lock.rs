//! One lock of a [`QueueLocks`](super::QueueLocks).

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use tracing::Instrument;

use crate::backend::Removed;
use crate::entry::{Entry, EntryId, EntryKind, FencingToken, LockKey};
use crate::error::{Result, invalid_input};
use crate::guard::LockGuard;
use crate::label::encode;
use crate::lock::DistributedLock;
use crate::lock_kind::LockKind;
use crate::metrics::Outcome;
use crate::name::LockName;
use crate::options::AcquireOptions;
use crate::queue::acquire::{Patience, Request, acquire};
use crate::queue::hold::QueueHold;
use crate::queue::open::OpenSession;
use crate::queue::rule::UNBOUNDED;
use crate::queue::sessions::{Sessions, doing};
use crate::queue::spans::Subject;
use crate::queue::standing::{Standing, standing};
use crate::queue::watch::trusted;
use crate::queue_view::QueueView;
use crate::record::{Record, Recorded};
use crate::snapshot::{QueuedEntry, Revision};

#[derive(Debug)]
pub(super) struct QueueLock {
    sessions: Arc<Sessions>,
    key: LockKey,
    kind: LockKind,
    options: AcquireOptions,
}

impl QueueLock {
    pub(super) fn new(sessions: Arc<Sessions>, name: &str, kind: LockKind) -> Result<Self> {
        let key = LockKey::new(entry_kind(kind, 1).family(), LockName::new(name)?);
        if let LockKind::Semaphore { limit: limit @ (0 | UNBOUNDED) } = kind {
            let message = format!("{key} with {limit} permits: a semaphore has from 1 to {}", UNBOUNDED - 1);
            return Err(invalid_input(message));
        }
        Ok(Self { sessions, key, kind, options: AcquireOptions::new() })
    }

    /// What the current session answers about the lock.
    async fn ask<T, F: Future<Output = Result<T>>>(
        &self,
        what: &str,
        request: impl FnOnce(Arc<OpenSession>) -> F,
    ) -> Result<T> {
        self.sessions.ask(what, Some(&self.key), request).await
    }

    fn request(&self, options: &AcquireOptions) -> Result<Request<'_>> {
        let limit = match self.kind {
            LockKind::Semaphore { limit } => limit,
            LockKind::Exclusive | LockKind::Shared => 1,
        };
        if !(1..=limit).contains(&options.permits) {
            let message =
                format!("{} permits asked for, but it has {limit}: ask for 1 to {limit}", options.permits);
            return Err(invalid_input(message));
        }
        let label = label(options);
        if label.len() > Entry::MAX_LABEL {
            let message =
                format!("a label has at most {} bytes, this one has {}", Entry::MAX_LABEL, label.len());
            return Err(invalid_input(message));
        }
        let value = options.value.as_deref();
        if value.is_some_and(|value| value.len() > Entry::MAX_VALUE) {
            let length = value.map_or(0, str::len);
            let message = format!("a value has at most {} bytes, this one has {length}", Entry::MAX_VALUE);
            return Err(invalid_input(message));
        }
        Ok(Request {
            lock: &self.key,
            kind: entry_kind(self.kind, options.permits),
            label: match encode(label, value, &ORIGIN) {
                Cow::Borrowed(_) => label.clone(),
                Cow::Owned(text) => text.into(),
            },
            patience: Patience::new(options.wait, self.sessions.connect_timeout()),
            requeues: options.requeue,
            max_ahead: options.max_ahead,
        })
    }
}

fn entry_kind(kind: LockKind, permits: u32) -> EntryKind {
    match kind {
        LockKind::Exclusive => EntryKind::Exclusive,
        LockKind::Shared => EntryKind::Shared,
        LockKind::Semaphore { limit } => EntryKind::Permits { permits, limit },
    }
}

/// The host's name and the process id: the label of entries whose owners say nothing.
static ORIGIN: LazyLock<Arc<str>> = LazyLock::new(|| {
    let host = gethostname::gethostname();
    format!("{}:{}", host.to_string_lossy(), std::process::id()).into()
});

/// What an entry with these options is labelled with.
fn label(options: &AcquireOptions) -> &Arc<str> {
    options.label.as_ref().unwrap_or(&ORIGIN)
}

/// What entries are labelled with whose owners say nothing.
pub(crate) fn default_label() -> &'static str {
    &ORIGIN
}

#[async_trait]
impl DistributedLock for QueueLock {
    fn name(&self) -> &LockName {
        &self.key.name
    }

    fn kind(&self) -> LockKind {
        self.kind
    }

    fn options(&self) -> &AcquireOptions {
        &self.options
    }

    fn with_options(&self, options: AcquireOptions) -> Arc<dyn DistributedLock> {
        Arc::new(Self { sessions: self.sessions.clone(), key: self.key.clone(), kind: self.kind, options })
    }

    async fn acquire_with(&self, options: &AcquireOptions) -> Result<Option<LockGuard>> {
        let acquisition =
            Subject { lock: &self.key, kind: self.kind, label: label(options), place: self.sessions.place() }
                .acquisition();
        let counted = self.sessions.counting().waiting(&self.key, self.kind);
        let grant = match self.request(options) {
            Ok(request) => acquire(&self.sessions, &request).instrument(acquisition.span.clone()).await,
            Err(error) => Err(error),
        };
        let counted = counted.ends(match &grant {
            Ok(Some(_)) => Outcome::Granted,
            Ok(None) => Outcome::NotInTime,
            Err(_) => Outcome::Failed,
        });
        let token = grant.as_ref().ok().and_then(Option::as_ref).map(|grant| grant.token);
        let span = acquisition.ends(token);
        let grant = grant.map_err(doing("acquire", Some(&self.key), self.sessions.place()))?;
        Ok(grant.map(|grant| LockGuard::new(Box::new(QueueHold::new(grant, counted, span)))))
    }

    async fn queue(&self) -> Result<QueueView> {
        let entries = self
            .ask("read the queue of", |open| async move { open.session().describe(&self.key).await })
            .await?;
        Ok(QueueView::new(entries, self.kind))
    }

    async fn head_changed(&self, head: Option<&EntryId>) -> Result<()> {
        // No watch is trusted for long.
        let changed = self.ask("watch the queue of", |open| async move {
            open.session().head_changed(&self.key, head).await
        });
        tokio::time::timeout(trusted(), changed).await.unwrap_or(Ok(()))
    }

    async fn evict(&self, id: &EntryId) -> Result<bool> {
        let evicted =
            self.ask("remove an entry of", |open| async move { open.session().evict(&self.key, id).await });
        Ok(evicted.await? == Removed::Now)
    }

    async fn record(&self) -> Result<Recorded> {
        self.ask("read the record of", |open| async move { open.session().record(&self.key).await }).await
    }

    async fn set_record(&self, token: FencingToken, text: &str) -> Result<bool> {
        if text.len() > Record::MAX {
            let message = format!("a record has at most {} bytes, this one has {}", Record::MAX, text.len());
            return Err(invalid_input(message));
        }
        let set = self.ask("set the record of", |open| async move {
            open.session().set_record(&self.key, token, text).await
        });
        set.await
    }

    fn place(&self) -> String {
        self.sessions.identity()
    }

    async fn acquirable(&self) -> Result<bool> {
        let queue = self.ask("look at", |open| async move { open.session().list(&self.key).await }).await?;
        let mut entries = queue.entries;
        let id = EntryId::random();
        entries.push(QueuedEntry { id: id.clone(), kind: entry_kind(self.kind, 1) });
        Ok(standing(&entries, &id, Revision::default()) == Standing::Holds)
    }
}
