//! What the scripts show of a queue, and whom they wake, against the rule applied to the whole queue.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use backend_redis::{Redis, RedisOptions};
use conformance::server;
use futures::StreamExt;
use lockcore::queue::{Standing, standing};
use lockcore::{
    Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession, QueuedEntry, Revision,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::AsyncCommands;
use tokio::runtime::Runtime;

#[derive(Debug, Clone)]
enum Step {
    Arrive(EntryKind),
    Leave(prop::sample::Index),
    /// Not renewed any more, some at once.
    Die(Vec<prop::sample::Index>),
    /// And somebody comes before that is found out.
    DieUnseen(Vec<prop::sample::Index>, EntryKind),
    /// With `redis-cli`.
    RemoveByHand(prop::sample::Index),
    /// What is remembered beside the entries.
    Lose(&'static str),
}

fn locks() -> impl Strategy<Value = EntryKind> + Clone {
    prop_oneof![1 => Just(EntryKind::Exclusive), 2 => Just(EntryKind::Shared)]
}

/// Mostly of one limit; sometimes somebody disagrees.
fn permits() -> impl Strategy<Value = EntryKind> + Clone {
    let limit = prop_oneof![18 => Just(4u32), 1 => Just(5u32), 1 => Just(u32::MAX)];
    (1..=4u32, limit).prop_map(|(permits, limit)| EntryKind::Permits { permits, limit })
}

fn steps(kind: impl Strategy<Value = EntryKind> + Clone) -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let some = || prop::collection::vec(index(), 1..5);
    let step = prop_oneof![
        12 => kind.clone().prop_map(Step::Arrive),
        5 => index().prop_map(Step::Leave),
        1 => some().prop_map(Step::Die),
        1 => (some(), kind).prop_map(|(dying, comes)| Step::DieUnseen(dying, comes)),
        1 => index().prop_map(Step::RemoveByHand),
        1 => prop::sample::select(vec!["#held", "#used", "#last"]).prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 1..40)
}

struct Bed {
    session: Arc<dyn QueueSession>,
    pubsub: redis::aio::PubSub,
    admin: redis::aio::MultiplexedConnection,
    lock: LockKey,
    key: String,
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
            key: format!("{{{family}:{}}}:queue", name.encode()),
            lock: LockKey { family, name },
        }
    }

    async fn queue(&self) -> Vec<QueuedEntry> {
        self.session.list(&self.lock).await.unwrap().entries
    }

    /// Those who were sent a message until now, each with what it was told of where it stands: its ticket, and what all other holders
    /// weigh.
    async fn woken(&mut self) -> HashMap<EntryId, Option<(u64, u64)>> {
        let _: () = self.admin.publish("session:", "end").await.unwrap();
        let mut woken = HashMap::new();
        let mut messages = self.pubsub.on_message();
        loop {
            let words: String = messages.next().await.unwrap().get_payload().unwrap();
            if words == "end" {
                return woken;
            }
            for word in words.split_whitespace() {
                let mut parts = word.split(':');
                let id = EntryId::from(parts.next().unwrap());
                let numbers: Vec<u64> = parts.map(|number| number.parse().unwrap()).collect();
                woken.insert(id, (!numbers.is_empty()).then(|| (numbers[0], numbers[1])));
            }
        }
    }

    /// Whoever is told that it holds does so, and is told what a look would show.
    async fn told_the_truth(&self, after: &[QueuedEntry], woken: &HashMap<EntryId, Option<(u64, u64)>>) {
        let details = self.session.describe(&self.lock).await.unwrap();
        let holding = holding(after);
        for (id, told) in woken {
            let Some((ticket, others)) = told else {
                assert!(!holding.contains(id), "{id} has to look");
                continue;
            };
            assert!(holding.contains(id), "{id} does not hold in {after:?}");
            assert!(details.iter().any(|entry| entry.id == *id && entry.token.get() == *ticket));
            let holders = after.iter().filter(|entry| entry.id != *id && holding.contains(&entry.id));
            assert_eq!(holders.map(|entry| u64::from(entry.kind.weight())).sum::<u64>(), *others);
        }
    }

    async fn step(&mut self, step: Step) {
        let before = self.queue().await;
        let (mut told, mut asked) = (HashSet::new(), None);
        match &step {
            Step::Arrive(kind) => self.arrives(&before, *kind).await,
            _ if before.is_empty() => return,
            Step::Leave(index) => {
                self.session.remove(&self.lock, &index.get(&before).id).await.unwrap();
            }
            Step::Die(indices) => {
                told = indices.iter().map(|index| index.get(&before).id.clone()).collect();
                self.die(&told).await;
            }
            Step::DieUnseen(indices, kind) => {
                told = indices.iter().map(|index| index.get(&before).id.clone()).collect();
                self.die(&told).await;
                let (entry, standing) = self.enqueue(*kind).await;
                asked = (standing == Standing::Holds).then_some(entry.id);
            }
            Step::RemoveByHand(index) => {
                let id = &index.get(&before).id;
                let _: () = self.admin.zrem(&self.key, id.as_str()).await.unwrap();
                assert_eq!(self.session.look(&self.lock, id).await.unwrap(), Standing::Absent);
            }
            Step::Lose(what) => {
                let _: () = self.admin.zrem(&self.key, what).await.unwrap();
            }
        }
        let after = self.queue().await;
        for entry in &after {
            agrees(&after, &entry.id, &self.session.look(&self.lock, &entry.id).await.unwrap());
        }
        let told_of = self.woken().await;
        self.told_the_truth(&after, &told_of).await;
        let woken: HashSet<EntryId> = told_of.into_keys().collect();
        if matches!(step, Step::Leave(_) | Step::Die(_) | Step::DieUnseen(..) | Step::RemoveByHand(_)) {
            told.extend(holding(&after).difference(&holding(&before)).cloned());
        }
        if let Some(id) = asked {
            assert!(told.remove(&id), "{id} does not hold in {after:?}");
        }
        match step {
            // Holders are counted again, and told again.
            Step::Lose(_) => assert!(woken.is_subset(&holding(&after)), "{step:?} of {before:?}"),
            _ => assert_eq!(woken, told, "{step:?} of {before:?}"),
        }
    }

    async fn enqueue(&self, kind: EntryKind) -> (Entry, Standing) {
        let entry = Entry { id: EntryId::random(), kind, label: "".into() };
        let standing = self.session.enqueue(&self.lock, &entry).await.unwrap().standing;
        (entry, standing)
    }

    async fn arrives(&self, before: &[QueuedEntry], kind: EntryKind) {
        let (entry, standing) = self.enqueue(kind).await;
        let with = [before, &[QueuedEntry { id: entry.id.clone(), kind }]].concat();
        agrees(&with, &entry.id, &standing);
        // Whoever disagrees about the limit is not even let into the queue.
        let refused = matches!(standing, Standing::LimitMismatch { .. });
        assert_eq!(self.queue().await, if refused { before.to_vec() } else { with });
    }

    /// The deadlines of these entries pass.
    async fn die(&mut self, dying: &HashSet<EntryId>) {
        let members: Vec<String> = self.admin.zrange(&self.key, 0, -1).await.unwrap();
        for member in members {
            let words: Vec<_> = member.split(' ').collect();
            if words.len() == 5 && dying.contains(&EntryId::from(words[0])) {
                let _: () = self.admin.zadd(&self.key, &member, 1u64 << 34).await.unwrap();
            }
        }
    }
}

fn holding(queue: &[QueuedEntry]) -> HashSet<EntryId> {
    let holds = |entry: &&QueuedEntry| standing(queue, &entry.id, Revision::default()) == Standing::Holds;
    queue.iter().filter(holds).map(|entry| entry.id.clone()).collect()
}

/// The verdicts are the same. The sets of whom to wait for are the same for exclusive entries; for the others ours may be another one,
/// which is sufficient as well: as long as all of it stays, there is no room. What it calls `holders` are those who hold.
fn agrees(queue: &[QueuedEntry], id: &EntryId, ours: &Standing) {
    let whole = standing(queue, id, Revision::default());
    match (&whole, ours) {
        (Standing::Waits { wake: expected, .. }, Standing::Waits { wake, .. }) => {
            let place = queue.iter().position(|entry| entry.id == *id).unwrap();
            let own = queue[place].kind;
            if own == EntryKind::Exclusive {
                assert_eq!(wake, expected);
            }
            let mut watched: HashSet<EntryId> = wake.iter().cloned().collect();
            if watched.remove(&EntryId::from("holders")) {
                watched.extend(holding(queue));
            }
            let ahead = queue[..place].iter().filter(|entry| watched.contains(&entry.id));
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
