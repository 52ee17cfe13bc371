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
use tokio::time::Instant;

use crate::error::is_settled;
use crate::handover::{Left, hand_over};
use crate::layout::{
    Position, Seen, Stay, decisive_number, decisive_prefix, entries, holds_alone, inbox_key, ordered, queue,
    session_key,
};
use crate::message::Message;
use crate::own_entries::OwnEntry;
use crate::requests::Requests;

/// How many comparisons one transaction makes; etcd accepts 128 if it is not told otherwise.
const COMPARISONS: usize = 100;

/// How many entries a transaction that writes reads at most: all other writes have to wait for it.
const HEAD: i64 = 64;

/// A part of a queue.
pub(crate) struct View {
    pub(crate) queue: Vec<Seen>,
    /// Whether there are keys that are no entries.
    has_foreign_keys: bool,
    pub(crate) revision: Revision,
}

/// What is in the slot of an entry that was not appended.
enum Found {
    /// The entry, created at this revision.
    Ours(i64),
    Other,
    Nothing,
}

impl Requests {
    /// Appends the entry, or finds it where an earlier request appended it.
    pub(crate) async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        loop {
            let (request, place) = self.own_entries.trying(lock, entry);
            let answer = self.txn(self.appending(lock, &place, request)).await;
            if answer.as_ref().map_or_else(is_settled, |_| true) {
                self.own_entries.answered(&entry.id, request);
            }
            let answer = answer?;
            if answer.succeeded() {
                return self.appended(lock, &entry.id, &place, &answer).await;
            }
            match self.found(lock, &place).await? {
                Found::Ours(created) => {
                    self.own_entries.found(&entry.id, created);
                    let standing = self.standing(lock, &entry.id).await?;
                    return Ok(Enqueued { token: token(created), standing });
                }
                Found::Other => {
                    self.clear(lock, &entry.id).await?;
                    self.own_entries.elsewhere(lock, &entry.id, entry.kind);
                }
                // The removal of another entry was faster, and refused all requests with smaller numbers than its own.
                Found::Nothing => self.lease.confirm(&self.lease.connection.link().await?).await?,
            }
        }
    }

    /// Glances at those ahead, and appends the entry if its slot is empty and no removal was faster. If it does, no
    /// request for the entry that was sent before is executed afterwards.
    fn appending(&self, lock: &LockKey, place: &OwnEntry, request: u64) -> Txn {
        let key = place.slot.key(&self.lock_prefix(lock));
        let session = session_key(&self.root, self.lease.session);
        let put = |key: &str, value: &str| {
            TxnOp::put(key, value, Some(PutOptions::new().with_lease(self.lease.id)))
        };
        let mut then = vec![self.read_head(lock, place.slot.kind), put(&key, &place.value)];
        if place.unanswered.len() > 1 {
            then.push(put(&session, &ordered(request)));
        }
        let empty = Compare::create_revision(&*key, CompareOp::Equal, 0);
        let first = Compare::value(session, CompareOp::Less, ordered(request));
        Txn::new().when([empty, first]).and_then(then)
    }

    /// Reads as many of those who decide about entries of this kind as leave no room for another; unsorted, which the
    /// server does fast.
    fn read_head(&self, lock: &LockKey, kind: EntryKind) -> TxnOp {
        let number = decisive_number(kind).min(HEAD);
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(number);
        TxnOp::get(decisive_prefix(&self.lock_prefix(lock), kind), Some(options))
    }

    /// What the answer says of a new entry: all that it shows are ahead of that.
    async fn appended(
        &self,
        lock: &LockKey,
        id: &EntryId,
        place: &OwnEntry,
        answer: &TxnResponse,
    ) -> Result<Enqueued> {
        let (head_range, seen) = (range(answer, 0)?, revision(answer.header()));
        self.own_entries.appended(id, created(seen));
        let own = Position { slot: place.slot, created: created(seen) };
        let view = View::new(&self.lock_prefix(lock), lock, &head_range);
        let standing = standing(entries(view.positions().chain([own])), &own.id(), seen);
        let standing = match standing {
            Standing::Holds if head_range.more() => self.standing(lock, id).await?,
            Standing::Waits { .. } if head_range.more() => {
                self.own_entries.stands_behind(id, u32::try_from(head_range.count()).unwrap_or(u32::MAX));
                standing
            }
            _ => {
                self.own_entries.stands(id, &standing);
                standing
            }
        };
        Ok(Enqueued { token: FencingToken::new(seen.0), standing })
    }

    /// What is in the slot of the entry.
    async fn found(&self, lock: &LockKey, place: &OwnEntry) -> Result<Found> {
        let key = place.slot.key(&self.lock_prefix(lock));
        let answer = self.txn(Txn::new().and_then([TxnOp::get(key, None)])).await?;
        Ok(match range(&answer, 0)?.kvs().first() {
            Some(key) if key.value() == place.value.as_bytes() && key.lease() == self.lease.id => {
                Found::Ours(key.create_revision())
            }
            Some(_) => Found::Other,
            None => Found::Nothing,
        })
    }

    /// Where our entry stands now.
    pub(crate) async fn standing(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        if let Some(place) = self.own_entries.get(id)
            && let Some(created) = place.created
        {
            let start = Instant::now();
            let standing = self.standing_of(lock, &place, created).await?;
            if place.ahead > 0 {
                self.turns.took(start.elapsed());
            }
            if standing != Standing::Absent {
                self.own_entries.stands(id, &standing);
                return Ok(standing);
            }
        }
        self.lease.confirm(&self.lease.connection.link().await?).await?;
        // Nobody removes what is not there, but a late request may still bring it back.
        self.clear(lock, id).await?;
        self.own_entries.forget(lock, id);
        Ok(Standing::Absent)
    }

    /// Asks whether all that decides stays as it was, and otherwise for as much of the queue as decides: as many of those
    /// ahead as leave no room, the nearest.
    async fn standing_of(&self, lock: &LockKey, place: &OwnEntry, created: i64) -> Result<Standing> {
        let (prefix, own) = (self.lock_prefix(lock), Position { slot: place.slot, created });
        let ahead = GetOptions::new().with_prefix().with_keys_only().with_max_create_revision(created - 1);
        let nearest = ahead.clone().with_sort(SortTarget::Create, SortOrder::Descend);
        let nearest = nearest.with_limit(decisive_number(place.slot.kind));
        let decisive = decisive_prefix(&prefix, place.slot.kind);
        let stay = own.stay(&prefix);
        let itself = TxnOp::get(&*stay.key, Some(GetOptions::new().with_keys_only()));
        let read = [itself, TxnOp::get(&*decisive, Some(nearest))];
        let stood = stays(&prefix, place, stay);
        let answer = match &stood {
            Some((_, stays)) => self.txn(all_stay(stays).or_else(read)).await?,
            None => self.txn(Txn::new().and_then(read)).await?,
        };
        if let Some((standing, _)) = stood
            && answer.succeeded()
        {
            return Ok(seen_again(standing, revision(answer.header())));
        }
        if range(&answer, 0)?.kvs().first().is_none_or(|key| key.create_revision() != created) {
            return Ok(Standing::Absent);
        }
        let mut view = View::new(&prefix, lock, &range(&answer, 1)?);
        if view.has_foreign_keys {
            let got = self.get(&decisive, ahead).await?;
            view = View { revision: view.revision, ..View::new(&prefix, lock, &got) };
        }
        Ok(standing(entries(view.positions().chain([own])), &own.id(), view.revision))
    }

    /// The part of the queue that the options ask for.
    pub(crate) async fn view(&self, lock: &LockKey, options: GetOptions) -> Result<View> {
        let prefix = self.lock_prefix(lock);
        Ok(View::new(&prefix, lock, &self.get(&prefix, options).await?))
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

    /// Removes the entry that is described like this, whosever it is. Its own session alone tells those behind it.
    pub(crate) async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let view = self.view(lock, GetOptions::new()).await?;
        let seen = view.queue.into_iter().find(|seen| seen.id_and_label().0 == *id);
        let Some(seen) = seen else { return Ok(Removed::Absent) };
        let stay = seen.position.stay(&self.lock_prefix(lock));
        let delete = Txn::new().when([there(&stay)]).and_then([TxnOp::delete(&*stay.key, None)]);
        Ok(Removed::from(self.txn(delete).await?.succeeded()))
    }

    /// Removes the entry, and makes sure that it does not come back.
    pub(crate) async fn clear(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        // Without a place it has been removed already, or was never sent.
        let Some(place) = self.own_entries.get(id) else { return Ok(Removed::Absent) };
        let refused = self.refuse(&place.unanswered).await;
        let removed = self.delete(lock, &place).await?;
        // A full database refuses nothing; nobody has to wait for the entry all the same.
        refused.map_err(|error| error.with_effect(Effect::Unknown))?;
        Ok(removed)
    }

    /// Deletes the entry, which is this one only with its create revision, and tells those whom that lets in.
    async fn delete(&self, lock: &LockKey, place: &OwnEntry) -> Result<Removed> {
        let Some(created) = self.created_at(lock, place).await? else { return Ok(Removed::Absent) };
        let stay = Stay { key: place.slot.key(&self.lock_prefix(lock)), created };
        let executed = match self.hand_to_next(lock, place, &stay).await {
            Ok(true) => return Ok(Removed::Now),
            Ok(false) => false,
            // Whoever was never told anything has no inbox. A full database refuses what writes, but the request that
            // fills it is executed all the same.
            Err(error) if is_settled(&error) => error.effect() == Effect::Unknown,
            Err(error) => return Err(error),
        };
        let kind = place.slot.kind;
        let then = [TxnOp::delete(&*stay.key, None), self.read_head(lock, kind)];
        let answer = self.txn(Txn::new().when([there(&stay)]).and_then(then)).await?;
        if !answer.succeeded() {
            return Ok(Removed::from(executed));
        }
        let head_range = range(&answer, 1)?;
        if !head_range.kvs().is_empty() {
            let (lease, own_entries, left) =
                (self.lease.clone(), self.own_entries.clone(), Left { kind, created });
            tokio::spawn(hand_over(lease, own_entries, lock.clone(), left, head_range));
        }
        Ok(Removed::Now)
    }

    /// Deletes the entry and tells whoever is next, in one transaction, if it is known who that is.
    async fn hand_to_next(&self, lock: &LockKey, place: &OwnEntry, stay: &Stay) -> Result<bool> {
        let Some((next, behind)) = place.admitted.as_deref().and_then(|behind| behind.split_first()) else {
            return Ok(false);
        };
        // Then nobody is ahead of the entry, and nobody else is let in.
        if !(holds_alone(place.slot.kind) && holds_alone(next.slot.kind)) {
            return Ok(false);
        }
        let (prefix, session) = (self.lock_prefix(lock), next.slot.session);
        let message = Message { holders: vec![next.created], behind: behind.to_vec() };
        let mut then = vec![TxnOp::delete(&*stay.key, None)];
        if session != self.lease.session {
            let put = PutOptions::new().with_ignore_lease();
            then.push(TxnOp::put(inbox_key(&self.root, session), message.to_string(), Some(put)));
        }
        let both = [there(stay), there(&next.stay(&prefix))];
        let done = self.txn(Txn::new().when(both).and_then(then)).await?.succeeded();
        if done && session == self.lease.session {
            self.own_entries.received(message);
        }
        Ok(done)
    }

    /// The create revision of the entry, if it may be there.
    async fn created_at(&self, lock: &LockKey, place: &OwnEntry) -> Result<Option<i64>> {
        if place.created.is_some() {
            return Ok(place.created);
        }
        Ok(match self.found(lock, place).await? {
            Found::Ours(created) => Some(created),
            Found::Other | Found::Nothing => None,
        })
    }

    /// Makes sure that none of these requests to append is executed from here on, and none with a smaller number.
    async fn refuse(&self, unanswered: &[u64]) -> Result<()> {
        let Some(number) = unanswered.iter().max() else { return Ok(()) };
        let (key, number) = (session_key(&self.root, self.lease.session), ordered(*number));
        let raise = TxnOp::put(&*key, &*number, Some(PutOptions::new().with_lease(self.lease.id)));
        let smaller = Compare::value(key, CompareOp::Less, number);
        self.txn(Txn::new().when([smaller]).and_then([raise])).await.map(drop)
    }
}

impl View {
    fn new(prefix: &str, lock: &LockKey, got: &GetResponse) -> Self {
        let queue = queue(prefix, lock.family, got.kvs());
        Self { has_foreign_keys: queue.len() < got.kvs().len(), queue, revision: revision(got.header()) }
    }

    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.queue.iter().map(|seen| seen.position)
    }
}

/// Where the entry stood, and the entries of which all have to stay for it to stand there still: its own, which may
/// hold as long as it is there, and those that it waits for. `None` where that is not known, or too many.
fn stays(prefix: &str, place: &OwnEntry, own: Stay) -> Option<(Standing, Vec<Stay>)> {
    let stood = place.stood.clone()?;
    let wake = match &stood {
        Standing::Holds => &[][..],
        Standing::Waits { wake, .. } => wake,
        Standing::Absent | Standing::LimitMismatch { .. } => return None,
    };
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
        _ => Err(Error::new(ErrorKind::Backend, "the answer makes no sense: is this an etcd server?")
            .with_retryable(true)),
    }
}
