//! The queue knows by itself who holds: what it says and whom it wakes is what the rule says of the whole queue.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use backend_memory::Memory;
use futures::FutureExt;
use futures::future::BoxFuture;
use lockcore::queue::{Standing, standing};
use lockcore::{
    Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession, Result, Revision,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Change {
    Comes(EntryKind),
    /// One of those that are there, by its place modulo their number.
    Leaves(usize),
}

fn locks() -> impl Strategy<Value = EntryKind> {
    prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared)]
}

/// Now and then somebody disagrees about the limit.
fn permits() -> impl Strategy<Value = EntryKind> {
    (1..=3u32, prop_oneof![9 => Just(3u32), 1 => Just(4u32)])
        .prop_map(|(permits, limit)| EntryKind::Permits { permits, limit })
}

fn changes(kinds: impl Strategy<Value = EntryKind>) -> impl Strategy<Value = Vec<Change>> {
    let change =
        prop_oneof![3 => kinds.prop_map(Change::Comes), 2 => any::<usize>().prop_map(Change::Leaves)];
    prop::collection::vec(change, 1..40)
}

struct Member {
    id: EntryId,
    /// What it was found to be when it was last looked at.
    known: Standing,
    watch: Watch,
}

type Watch = BoxFuture<'static, Result<Option<Standing>>>;

struct Queue {
    session: Arc<dyn QueueSession>,
    lock: LockKey,
    members: Vec<Member>,
}

impl Queue {
    async fn change(&mut self, change: Change) {
        match change {
            Change::Comes(kind) => {
                let entry = Entry { id: EntryId::random(), kind, label: "".into() };
                let known = self.session.enqueue(&self.lock, &entry).await.unwrap().standing;
                let watch = self.watch(&entry.id, &known);
                self.members.push(Member { id: entry.id, known, watch });
            }
            Change::Leaves(_) if self.members.is_empty() => {}
            Change::Leaves(place) => {
                let Member { id, watch, .. } = self.members.remove(place % self.members.len());
                self.session.remove(&self.lock, &id).await.unwrap();
                let told = watch.now_or_never().expect("whoever has left is told").unwrap();
                assert_eq!(told, Some(Standing::Absent));
            }
        }
    }

    /// Each stands where the rule says, and has been told if it holds since the last time.
    async fn check(&mut self) {
        let queue = self.session.list(&self.lock).await.unwrap().entries;
        for place in 0..self.members.len() {
            let Member { id, known, watch } = &mut self.members[place];
            let stands = standing(&queue, id, Revision::default());
            assert_eq!(self.session.look(&self.lock, id).await.unwrap(), stands);
            let told = watch.now_or_never().map(|told| told.unwrap().unwrap());
            let holds_now = stands == Standing::Holds && *known != Standing::Holds;
            assert_eq!(told, holds_now.then_some(Standing::Holds), "{id} in {queue:?}");
            let id = id.clone();
            let watch = self.watch(&id, &stands);
            self.members[place] = Member { id, known: stands, watch };
        }
    }

    /// A watch that is set: as a waiter sets it, or a holder.
    fn watch(&self, id: &EntryId, known: &Standing) -> Watch {
        let (session, lock, id) = (self.session.clone(), self.lock.clone(), id.clone());
        let ids = match known {
            Standing::Holds => vec![id.clone()],
            Standing::Waits { wake, .. } => wake.clone(),
            // Nobody waits long for that; but whoever would is told as well.
            Standing::LimitMismatch { .. } | Standing::Absent => Vec::new(),
        };
        let mut watch: Watch =
            async move { session.watch(&lock, &id, &ids, Revision::default()).await }.boxed();
        match (&mut watch).now_or_never() {
            Some(told) => std::future::ready(told).boxed(),
            None => watch,
        }
    }
}

fn run(family: Family, changes: Vec<Change>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let session = Memory::new().client().open_session().await.unwrap();
        let lock = LockKey { family, name: LockName::new("a").unwrap() };
        let mut queue = Queue { session, lock, members: Vec::new() };
        for change in changes {
            queue.change(change).await;
            queue.check().await;
        }
    });
}

proptest! {
    #[test]
    fn locks_are_what_the_rule_says(changes in changes(locks())) {
        run(Family::Lock, changes);
    }

    #[test]
    fn semaphores_are_what_the_rule_says(changes in changes(permits())) {
        run(Family::Semaphore, changes);
    }
}
