//! The requests that append to a queue, read it, and remove from it.

use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, PutOptions, ResponseHeader, SortOrder, SortTarget, Txn,
    TxnOp, TxnOpResponse, TxnResponse,
};
use lockcore::queue::{Standing, standing};
use lockcore::{
    Effect, Enqueued, Entry, EntryId, EntryKind, Error, ErrorKind, FencingToken, LockKey, Removed, Result,
    Revision,
};

use crate::error::is_settled;
use crate::handover::{GLANCE, Left, hand_over};
use crate::layout::{Seen, Stay, entries, ordered, queue, seen_id, session_key};
use crate::places::Place;
use crate::session::EtcdSession;

/// How many comparisons one transaction makes; etcd accepts 128 if it is not told otherwise.
const COMPARISONS: usize = 100;

/// A part of a queue.
pub(crate) struct View {
    pub(crate) queue: Vec<Seen>,
    /// Whether there are keys that are no entries.
    strangers: bool,
    pub(crate) revision: Revision,
}

/// What is in the slot of an entry that was not appended.
enum Found {
    /// The entry, created at this revision.
    Ours(i64),
    Other,
    Nothing,
}

impl EtcdSession {
    /// Appends the entry, or finds it where an earlier request appended it.
    pub(crate) async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        loop {
            let (request, place) = self.places.trying(lock, entry);
            let answer = self.txn(self.appending(lock, &place, request)).await;
            if answer.as_ref().map_or_else(is_settled, |_| true) {
                self.places.heard(&entry.id, request);
            }
            let answer = answer?;
            if answer.succeeded() {
                return self.appended(lock, &entry.id, &place, &answer).await;
            }
            match self.found(&place, &range(&answer, 0)?) {
                Found::Ours(created) => {
                    self.places.found(&entry.id, created);
                    let standing = self.standing(lock, &entry.id).await?;
                    return Ok(Enqueued { token: token(created), standing });
                }
                Found::Other => {
                    self.clear(lock, &entry.id).await?;
                    self.places.elsewhere(lock, &entry.id, entry.kind);
                }
                // The removal of another entry was faster, and refused all requests with smaller numbers than its own.
                Found::Nothing => self.heart.confirm(&self.heart.connection.link().await?).await?,
            }
        }
    }

    /// Appends the entry if its slot is empty and no removal was faster, and glances at the queue. If it does, no
    /// request for the entry that was sent before is executed afterwards.
    fn appending(&self, lock: &LockKey, place: &Place, request: u64) -> Txn {
        let key = place.slot.key(&self.lock_prefix(lock));
        let session = session_key(&self.root, self.heart.session);
        let put = |key: &str, value: &str| {
            TxnOp::put(key, value, Some(PutOptions::new().with_lease(self.heart.id)))
        };
        let mut then = vec![put(&key, &place.value), self.glance(lock)];
        if place.unheard.len() > 1 {
            then.push(put(&session, &ordered(request)));
        }
        let empty = Compare::create_revision(&*key, CompareOp::Equal, 0);
        let first = Compare::value(session, CompareOp::Less, ordered(request));
        Txn::new().when([empty, first]).and_then(then).or_else([TxnOp::get(key, None)])
    }

    fn glance(&self, lock: &LockKey) -> TxnOp {
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(GLANCE);
        TxnOp::get(self.lock_prefix(lock), Some(options))
    }

    /// What the answer says of a new entry.
    async fn appended(
        &self,
        lock: &LockKey,
        id: &EntryId,
        place: &Place,
        answer: &TxnResponse,
    ) -> Result<Enqueued> {
        let (glance, seen) = (range(answer, 1)?, revision(answer.header()));
        self.places.appended(id, created(seen));
        let standing = if glance.more() {
            self.standing(lock, id).await?
        } else {
            let queue = queue(&self.lock_prefix(lock), lock.family, glance.kvs());
            let standing = standing(entries(&queue), &seen_id(place.slot, created(seen)), seen);
            self.places.stands(id, &standing);
            standing
        };
        Ok(Enqueued { token: FencingToken::new(seen.0), standing })
    }

    /// What this read of the slot of an entry found.
    fn found(&self, place: &Place, got: &GetResponse) -> Found {
        match got.kvs().first() {
            Some(key) if key.value() == place.value.as_bytes() && key.lease() == self.heart.id => {
                Found::Ours(key.create_revision())
            }
            Some(_) => Found::Other,
            None => Found::Nothing,
        }
    }

    /// Where our entry stands now.
    pub(crate) async fn standing(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        if let Some(place) = self.places.get(id)
            && let Some(created) = place.created
        {
            let standing = self.standing_of(lock, &place, created).await?;
            if standing != Standing::Absent {
                self.places.stands(id, &standing);
                return Ok(standing);
            }
        }
        self.heart.confirm(&self.heart.connection.link().await?).await?;
        // Nobody removes what is not there, but a late request may still bring it back.
        self.clear(lock, id).await?;
        self.places.forget(lock, id);
        Ok(Standing::Absent)
    }

    /// Asks whether all that decides stays as it was, and otherwise for as much of the queue as decides.
    async fn standing_of(&self, lock: &LockKey, place: &Place, created: i64) -> Result<Standing> {
        let prefix = self.lock_prefix(lock);
        let ahead = GetOptions::new().with_prefix().with_keys_only().with_max_create_revision(created);
        let exclusive = place.slot.kind == EntryKind::Exclusive;
        // It waits for the nearest entry ahead, whatever that is.
        let nearest = || ahead.clone().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(2);
        let read = TxnOp::get(&*prefix, Some(if exclusive { nearest() } else { ahead.clone() }));
        let stood = decisive(&prefix, place, created);
        let answer = match &stood {
            Some((_, stays)) => self.txn(all_stay(stays).or_else([read])).await?,
            None => self.txn(Txn::new().and_then([read])).await?,
        };
        if let Some((standing, _)) = stood
            && answer.succeeded()
        {
            return Ok(seen_again(standing, revision(answer.header())));
        }
        let mut view = View::new(&prefix, lock, &range(&answer, 0)?);
        if exclusive && view.strangers {
            view = self.view(lock, ahead).await?;
        }
        Ok(standing(entries(&view.queue), &seen_id(place.slot, created), view.revision))
    }

    /// The part of the queue that the options ask for.
    pub(crate) async fn view(&self, lock: &LockKey, options: GetOptions) -> Result<View> {
        let prefix = self.lock_prefix(lock);
        let got = self.get(prefix.clone(), options).await?;
        Ok(View::new(&prefix, lock, &got))
    }

    /// When all of these were there; `None` if one is not.
    pub(crate) async fn present(&self, stays: &[Stay]) -> Result<Option<Revision>> {
        let mut first = None;
        for stays in stays.chunks(COMPARISONS) {
            let answer = self.txn(all_stay(stays)).await?;
            if !answer.succeeded() {
                return Ok(None);
            }
            first.get_or_insert(revision(answer.header()));
        }
        Ok(first)
    }

    /// Removes the entry, and makes sure that it does not come back.
    pub(crate) async fn clear(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        // Without a place it has been removed already, or was never sent.
        let Some(place) = self.places.get(id) else { return Ok(Removed::Absent) };
        let refused = self.refuse(&place.unheard).await;
        let removed = self.delete(lock, &place).await?;
        // A full database refuses nothing; nobody has to wait for the entry all the same.
        refused.map_err(|error| error.with_effect(Effect::Unknown))?;
        Ok(removed)
    }

    /// Deletes the entry, which is this one only with its create revision, and tells those whom that lets in.
    async fn delete(&self, lock: &LockKey, place: &Place) -> Result<Removed> {
        let key = place.slot.key(&self.lock_prefix(lock));
        let Some(created) = self.created_at(&key, place).await? else { return Ok(Removed::Absent) };
        let then = [TxnOp::delete(&*key, None), self.glance(lock)];
        let stay = Stay { key, created };
        let answer = self.txn(Txn::new().when([there(&stay)]).and_then(then)).await?;
        if !answer.succeeded() {
            return Ok(Removed::Absent);
        }
        let (heart, bells) = (self.heart.clone(), self.bells.clone());
        let left = Left { kind: place.slot.kind, stay };
        tokio::spawn(hand_over(heart, bells, lock.clone(), left, range(&answer, 1)?));
        Ok(Removed::Now)
    }

    /// The create revision of the entry, if it may be there.
    async fn created_at(&self, key: &str, place: &Place) -> Result<Option<i64>> {
        if place.created.is_some() {
            return Ok(place.created);
        }
        let answer = self.txn(Txn::new().and_then([TxnOp::get(key, None)])).await?;
        Ok(match self.found(place, &range(&answer, 0)?) {
            Found::Ours(created) => Some(created),
            Found::Other | Found::Nothing => None,
        })
    }

    /// Makes sure that none of these requests to append is executed from here on, and none with a smaller number.
    async fn refuse(&self, unheard: &[u64]) -> Result<()> {
        let Some(number) = unheard.iter().max() else { return Ok(()) };
        let (key, number) = (session_key(&self.root, self.heart.session), ordered(*number));
        let raise = TxnOp::put(&*key, &*number, Some(PutOptions::new().with_lease(self.heart.id)));
        let smaller = Compare::value(key, CompareOp::Less, number);
        self.txn(Txn::new().when([smaller]).and_then([raise])).await.map(drop)
    }
}

impl View {
    fn new(prefix: &str, lock: &LockKey, got: &GetResponse) -> Self {
        let queue = queue(prefix, lock.family, got.kvs());
        Self { strangers: queue.len() < got.kvs().len(), queue, revision: revision(got.header()) }
    }
}

/// Where the entry stood, and the entries of which all have to stay for it to stand there still: its own, which may
/// hold as long as it is there, and those that it waits for. `None` where that is not known, or too many.
fn decisive(prefix: &str, place: &Place, created: i64) -> Option<(Standing, Vec<Stay>)> {
    let stood = place.stood.clone()?;
    let wake = match &stood {
        Standing::Holds => &[][..],
        Standing::Waits { wake, .. } => wake,
        Standing::Absent | Standing::LimitMismatch { .. } => return None,
    };
    let own = Stay { key: place.slot.key(prefix), created };
    let wake = wake.iter().map(|id| Stay::of(id, prefix));
    let stays = std::iter::once(Some(own)).chain(wake).collect::<Option<Vec<_>>>()?;
    (stays.len() <= COMPARISONS).then_some((stood, stays))
}

/// Succeeds if all of these are there, without reading them.
fn all_stay(stays: &[Stay]) -> Txn {
    // Without a read, etcd would not ask a majority.
    let count = stays.first().map(|stay| TxnOp::get(&*stay.key, Some(GetOptions::new().with_count_only())));
    Txn::new()
        .when(stays.iter().map(there).collect::<Vec<_>>())
        .and_then(count.into_iter().collect::<Vec<_>>())
}

/// That the entry is there, and not another at its key.
fn there(Stay { key, created }: &Stay) -> Compare {
    Compare::create_revision(&**key, CompareOp::Equal, *created)
}

fn seen_again(standing: Standing, seen: Revision) -> Standing {
    match standing {
        Standing::Waits { wake, .. } => Standing::Waits { wake, seen },
        standing => standing,
    }
}

fn revision(header: Option<&ResponseHeader>) -> Revision {
    Revision(header.and_then(|header| u64::try_from(header.revision()).ok()).unwrap_or_default())
}

/// A revision as etcd counts it.
pub(crate) fn created(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(crate) fn token(created: i64) -> FencingToken {
    FencingToken::new(u64::try_from(created).unwrap_or_default())
}

/// The answer to the read that a transaction made as its operation of this number.
fn range(answer: &TxnResponse, number: usize) -> Result<GetResponse> {
    match answer.op_responses().into_iter().nth(number) {
        Some(TxnOpResponse::Get(got)) => Ok(got),
        _ => Err(Error::new(ErrorKind::Backend, "the answer makes no sense").with_retryable(true)),
    }
}
