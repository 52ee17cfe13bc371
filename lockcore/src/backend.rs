//! What a driver implements: a backend that opens sessions, and the queue operations of one session.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::entry::{Entry, EntryId, FencingToken, LockKey};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::queue::standing::{Standing, standing};
use crate::record::{Recorded, no_records};
use crate::session::Lease;
use crate::snapshot::{EntryDetails, Revision, Snapshot};
use crate::url_options::DEFAULT_CONNECT_TIMEOUT;

/// Where locks live: something that opens [sessions](QueueSession).
///
/// One value stands for one URL. All meaning (waiting, timeouts, cancellation, loss, release) is in
/// [`QueueLocks`](crate::queue::QueueLocks), which runs on top of any backend.
#[async_trait]
pub trait QueueBackend: Debug + Send + Sync + 'static {
    /// What this backend can promise.
    fn capabilities(&self) -> Capabilities;

    /// What errors call the place: the servers' addresses, or a path. Without credentials.
    fn place(&self) -> String;

    /// What all programs call the place that use it, however each of them writes its URL: the same text for the same locks, another one
    /// for others, such as another root of the same servers. Several locks at once are taken in its order.
    fn identity(&self) -> String {
        self.place()
    }

    /// How long [opening a session](Self::open_session) may take, and so how long a try waits for an answer.
    fn connect_timeout(&self) -> Duration {
        DEFAULT_CONNECT_TIMEOUT
    }

    /// Opens a new session, verified by one round trip, within the [connect timeout](Self::connect_timeout).
    ///
    /// # Errors
    ///
    /// [`Unreachable`](crate::ErrorKind::Unreachable) or
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied), at the latest when the timeout ends.
    async fn open_session(&self) -> Result<Arc<dyn QueueSession>>;
}

/// One session with the server, and the queue operations on it.
///
/// # Contract
///
/// * **D1** [`enqueue`](Self::enqueue) is idempotent in the entry's id while the session lives: called again after an
///   unknown outcome it finds the first entry, in its place and with its token, and never another session's.
/// * **D2** All entries of a queue have one total order, in which the server accepted them, the same for everybody.
/// * **D3** [`look`](Self::look) and [`list`](Self::list) see at least everything that the server had accepted when this
///   session's own entry was accepted, that earlier answers to this session told, and, after a [`watch`](Self::watch)
///   returned, what made it return.
/// * **D4** [`watch`](Self::watch) may return without reason, but never sleeps through a departure.
/// * **D5** [`remove`](Self::remove) is idempotent and final: afterwards the entry is gone, and no request that was sent before
///   can bring it back. It touches no other entry.
/// * **D6** An entry leaves the queue only by `remove`, or with its session.
/// * **D7** The [lease](Self::lease) is lost, by the local clock, before the server may end the session.
/// * **D8** Tokens rise along the order of a queue, and over the life of the service: never again a smaller one.
///
/// * **D9** A [record](Self::set_record) stays until one is set with a token that is not smaller, whatever happens to entries and
///   sessions; comparing and setting are one step. It is no trace of the lock to [`names`](Self::names) and [`cleanup`](Self::cleanup).
///
/// A dropped future counts as an unknown outcome: the request may have been executed, or may be executed later
/// unless a `remove` comes after it. Names and labels are data, whatever characters they have.
///
/// # What is left to a driver
///
/// * It renews its session with [`keep_alive`](crate::session::keep_alive), which takes the time of sending, paces attempts, tells the
///   lease of doubts and ends it when the server says so; the driver's part is how to connect and how to renew.
/// * While there is no connection, requests wait for one or fail at once, as suits the server. No request waits for an answer for
///   ever: one that gets none fails with [`Unreachable`](crate::ErrorKind::Unreachable), and its effect is
///   [`None`](crate::Effect::None) only if it certainly never left. The core repeats what [may be
///   repeated](crate::Error::is_retryable), after a pause that grows.
/// * A session whose lease is lost answers every operation with [`Error::lost`](crate::Error::lost), and asks nobody; so does a
///   session of which the server says that it is over, once the driver has [ended](Lease::end) its lease. Closing it is no
///   error, however often.
/// * Where the server ends no sessions by itself, somebody has to judge them who lives: whoever looks at a queue removes those
///   from it whose time is over by the server's clock, also if nobody waits behind them. A renewal that comes before the
///   judgement counts.
/// * Nothing else runs while a lock is held. The core sets every watch again about twice a minute, with the waiter's own entry
///   beside the others, and a second or two after a grant begins to watch the held entry alone.
#[async_trait]
pub trait QueueSession: Debug + Send + Sync + 'static {
    /// How long this session is sure to live.
    fn lease(&self) -> &Lease;

    /// Appends the entry to the queue, and says where it stands.
    ///
    /// # Errors
    ///
    /// [`Error::lost`](crate::Error::lost) once the session is over; what the server refuses; [`Unreachable`](crate::ErrorKind::Unreachable) for
    /// want of an answer, with the effect that this can have had.
    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued>;

    /// The whole queue, in order.
    ///
    /// # Errors
    ///
    /// Those of [`enqueue`](Self::enqueue); none of them has an effect.
    async fn list(&self, lock: &LockKey) -> Result<Snapshot>;

    /// Where the entry of this session stands now. A driver whose server can tell without listing the whole
    /// queue does so.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list).
    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let snapshot = self.list(lock).await?;
        Ok(standing(&snapshot.entries, id, snapshot.revision))
    }

    /// Returns when any of the entries `ids` may have left since the revision at which they were seen; at once if
    /// one of them is not there now. To wake nobody but those whom the rule lets in is enough: what `waiter` waits for is
    /// that [`look`](Self::look) says something new of it.
    ///
    /// `waiter` is the entry of this session for which it is asked, `ids` has that one alone if its owner holds it and
    /// wants to know that it is gone ([`watches_held`]). A driver that was told more than that something has changed says where the
    /// waiter stands, as surely as `look` would; others say `None`, and are asked.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list), at once. To return without reason is better than an error where the watch alone broke.
    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<Option<Standing>>;

    /// Removes one entry of this session.
    ///
    /// # Errors
    ///
    /// Those of [`enqueue`](Self::enqueue).
    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed>;

    /// Removes an entry of whatever session, for operators: what [`describe`](Self::describe) calls like this. Its owner finds out as he does
    /// of every removal by hand. A driver that removes none but its own leaves this as it is.
    ///
    /// # Errors
    ///
    /// Those of [`enqueue`](Self::enqueue).
    async fn evict(&self, _lock: &LockKey, _id: &EntryId) -> Result<Removed> {
        Err(evicts_nobody())
    }

    /// An open file that keeps the entry alive as long as anybody has it open, where the driver has such. Removing the
    /// entry, and closing the session, end it for all of them.
    ///
    /// # Errors
    ///
    /// What the system says when this process may not have more open files.
    fn descriptor(&self, _lock: &LockKey, _id: &EntryId) -> Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Returns when the first entry of the queue may be another than the one that [`describe`](Self::describe) called `head` (`None`: when
    /// there may be an entry), for those who stand in no queue themselves. It may return without reason, but not at once each time. A
    /// driver whose server cannot wake anybody for it returns after a second.
    async fn head_changed(&self, _lock: &LockKey, _head: Option<&EntryId>) -> Result<()> {
        tokio::time::sleep(UNWATCHED).await;
        Ok(())
    }

    /// The queue for people to read: every entry, in order, with all that is known of it.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list).
    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>>;

    /// What is recorded about the lock, seen as [`list`](Self::list) would see the queue, and what time it is at the server, or here.
    ///
    /// A driver that keeps no records leaves this and [`set_record`](Self::set_record) as they are.
    async fn record(&self, _lock: &LockKey) -> Result<Recorded> {
        Err(no_records())
    }

    /// Records the text under this token, unless the record has a larger one; whether it did. Idempotent.
    async fn set_record(&self, _lock: &LockKey, _token: FencingToken, _text: &str) -> Result<bool> {
        Err(no_records())
    }

    /// Every lock that has an entry or a leftover on the server.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list).
    async fn names(&self) -> Result<Vec<LockKey>>;

    /// Removes what dead locks left behind, beside live ones, and says how many locks that were.
    ///
    /// # Errors
    ///
    /// Those of [`enqueue`](Self::enqueue); some leftovers may be gone then.
    async fn cleanup(&self) -> Result<u64>;

    /// Ends the session, and with it all of its entries; idempotent. Nothing renews it from here on, even
    /// when the server cannot be told.
    ///
    /// # Errors
    ///
    /// If the server could not be told: the session then ends there when its time is over.
    async fn close(&self) -> Result<()>;
}

/// Whether a [`watch`](QueueSession::watch) with these arguments is for an entry that is held, and of which the owner wants to
/// know that it is gone.
pub fn watches_held(waiter: &EntryId, ids: &[EntryId]) -> bool {
    ids == std::slice::from_ref(waiter)
}

/// How long somebody waits who wants to know of [another head](QueueSession::head_changed) of a queue, and whom nobody wakes.
pub const UNWATCHED: Duration = Duration::from_secs(1);

/// The servers, separated by commas, in an order that does not depend on who wrote them down: for
/// [`identity`](QueueBackend::identity).
pub fn in_one_order<'s>(servers: impl IntoIterator<Item = &'s str>) -> String {
    let mut servers: Vec<&str> = servers.into_iter().collect();
    servers.sort_unstable();
    servers.join(",")
}

/// The error of those who remove no entries but their own.
pub(crate) fn evicts_nobody() -> Error {
    Error::new(ErrorKind::Backend, "this backend removes nobody's entry but its owner's")
        .with_effect(Effect::None)
}

/// The answer to an [`enqueue`](QueueSession::enqueue).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The token of the entry.
    pub token: FencingToken,
    /// Where it stands, seen no earlier than it was appended.
    pub standing: Standing,
}

/// The answer to a [`remove`](QueueSession::remove).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The entry was there, and this request removed it.
    Now,
    /// The entry was not there (any more).
    Absent,
}

/// Whether it was there.
impl From<bool> for Removed {
    fn from(there: bool) -> Self {
        if there { Removed::Now } else { Removed::Absent }
    }
}
