//! What the scripts show of a queue, and whom they wake, against the rule applied to the whole queue.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;
use std::sync::Arc;

use backend_redis::{Redis, RedisOptions};
use conformance::server;
use futures::StreamExt;
use lockcore::queue::rule::holders;
use lockcore::queue::{Standing, standing};
use lockcore::{
    Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession, QueuedEntry, Revision,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::AsyncCommands;
use tokio::runtime::Runtime;

#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(EntryKind),
    Leave(prop::sample::Index),
}

fn locks() -> impl Strategy<Value = EntryKind> {
    prop_oneof![1 => Just(EntryKind::Exclusive), 2 => Just(EntryKind::Shared)]
}

/// Mostly of one limit; sometimes somebody disagrees.
fn permits() -> impl Strategy<Value = EntryKind> {
    let limit = prop_oneof![19 => Just(4u32), 1 => Just(u32::MAX)];
    (1..=4u32, limit).prop_map(|(permits, limit)| EntryKind::Permits { permits, limit })
}

fn steps(kind: impl Strategy<Value = EntryKind>) -> impl Strategy<Value = Vec<Step>> {
    let arrive = kind.prop_map(Step::Arrive);
    prop::collection::vec(
        prop_oneof![3 => arrive, 2 => any::<prop::sample::Index>().prop_map(Step::Leave)],
        1..40,
    )
}

struct Bed {
    session: Arc<dyn QueueSession>,
    pubsub: redis::aio::PubSub,
    admin: redis::aio::MultiplexedConnection,
    lock: LockKey,
}

impl Bed {
    async fn new(server: &server::Redis, family: Family) -> Self {
        let options = RedisOptions::new(server.address()).with_prefix("").unwrap();
        let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.psubscribe("session:*").await.unwrap();
        let name = LockName::new(EntryId::random().as_str()).unwrap();
        Self {
            session: Redis::new(options).open_session().await.unwrap(),
            pubsub,
            admin: client.get_multiplexed_async_connection().await.unwrap(),
            lock: LockKey { family, name },
        }
    }

    async fn queue(&self) -> Vec<QueuedEntry> {
        self.session.list(&self.lock).await.unwrap().entries
    }

    /// Those who were sent a message until now.
    async fn woken(&mut self) -> HashSet<EntryId> {
        let _: () = self.admin.publish("session:", "end").await.unwrap();
        let mut woken = HashSet::new();
        let mut messages = self.pubsub.on_message();
        loop {
            let id: String = messages.next().await.unwrap().get_payload().unwrap();
            if id == "end" {
                return woken;
            }
            woken.insert(EntryId::from(&*id));
        }
    }

    async fn step(&mut self, step: Step) {
        let before = self.queue().await;
        match step {
            Step::Arrive(kind) => {
                let entry = Entry { id: EntryId::random(), kind, label: String::new() };
                let seen = self.session.enqueue(&self.lock, &entry).await.unwrap();
                agrees(&self.queue().await, &entry.id, &seen.standing);
            }
            Step::Leave(index) if !before.is_empty() => {
                self.session.remove(&self.lock, &index.get(&before).id).await.unwrap();
            }
            Step::Leave(_) => return,
        }
        let after = self.queue().await;
        for entry in &after {
            agrees(&after, &entry.id, &self.session.look(&self.lock, &entry.id).await.unwrap());
        }
        let let_in: HashSet<EntryId> = if matches!(step, Step::Leave(_)) {
            holding(&after).difference(&holding(&before)).cloned().collect()
        } else {
            HashSet::new()
        };
        let woken = self.woken().await;
        let agreed = before.iter().all(|entry| entry.kind.limit() == before[0].kind.limit());
        if agreed {
            assert_eq!(woken, let_in, "{step:?} of {before:?}");
        } else {
            assert!(woken.is_superset(&let_in), "{step:?} of {before:?}: {woken:?}");
        }
    }
}

fn holding(queue: &[QueuedEntry]) -> HashSet<EntryId> {
    let limit = queue.first().map_or(0, |head| head.kind.limit());
    let holding = holders(limit, queue.iter().map(|entry| entry.kind.weight()));
    queue[..holding].iter().map(|entry| entry.id.clone()).collect()
}

/// The verdicts are the same. The sets of whom to wait for are the same for locks; for semaphores with requests of different sizes
/// ours may be another one, which is sufficient as well: as long as all of it stays, there is no room.
fn agrees(queue: &[QueuedEntry], id: &EntryId, ours: &Standing) {
    let whole = standing(queue, id, Revision::default());
    match (&whole, ours) {
        (Standing::Waits { wake: expected, .. }, Standing::Waits { wake, .. }) => {
            let place = queue.iter().position(|entry| entry.id == *id).unwrap();
            let own = queue[place].kind;
            if own.family() == Family::Lock {
                assert_eq!(wake, expected);
            }
            let ahead = queue[..place].iter().filter(|entry| wake.contains(&entry.id));
            let weight: u64 = ahead.map(|entry| u64::from(entry.kind.weight())).sum();
            assert!(weight + u64::from(own.weight()) > u64::from(own.limit()), "{wake:?} in {queue:?}");
        }
        _ => assert_eq!(&whole, ours, "{id} in {queue:?}"),
    }
}

fn check(family: Family, steps: impl Strategy<Value = Vec<Step>>) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(server::Redis::start()).unwrap();
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let run = |steps: Vec<Step>| {
        runtime.block_on(async {
            let mut bed = Bed::new(&server, family).await;
            for step in steps {
                bed.step(step).await;
            }
            bed.session.close().await.unwrap();
        });
        Ok(())
    };
    runner.run(&steps, run).unwrap();
}

#[test]
fn locks_follow_the_rule() {
    check(Family::Lock, steps(locks()));
}

#[test]
fn semaphores_follow_the_rule() {
    check(Family::Semaphore, steps(permits()));
}
