//! What the driver itself does, on one Redis server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backend_redis::{Redis, RedisOptions};
use conformance::proxy::Proxy;
use conformance::server;
use lockcore::queue::Standing;
use lockcore::{
    Effect, Enqueued, Entry, EntryId, EntryKind, ErrorKind, Family, LockKey, LockName, QueueBackend,
    QueueSession, Removed, Revision,
};

type Session = Arc<dyn QueueSession>;

const QUEUE: &str = "fairlock:{lock:l}:queue";

const SHORT: Duration = Duration::from_secs(3);
/// Long enough for no renewal to come between.
const MINUTES: Duration = Duration::from_secs(600);

struct Bed {
    server: server::Redis,
}

impl Bed {
    async fn new() -> Self {
        Self { server: server::Redis::start().await.unwrap() }
    }

    async fn session(&self) -> Session {
        open(RedisOptions::new(self.server.address())).await
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.cli(&["keys", "*"]).await.lines().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// How many scripts of ours the server has run.
    async fn scripts_run(&self) -> u64 {
        self.commands_run()
            .await
            .into_iter()
            .filter(|(name, _)| name.starts_with("eval"))
            .map(|(_, calls)| calls)
            .sum()
    }

    /// How often the server has executed which command, in scripts as well.
    async fn commands_run(&self) -> Vec<(String, u64)> {
        let stats = self.cli(&["info", "commandstats"]).await;
        let calls = |line: &str| {
            let (name, stats) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), stats.split(',').next()?.parse().ok()?))
        };
        stats.lines().filter_map(calls).collect()
    }

    /// How many commands the server executes meanwhile.
    async fn commands_for(&self, work: impl Future<Output = ()> + Send) -> u64 {
        let total = |stats: Vec<(String, u64)>| {
            stats.into_iter().filter(|(name, _)| name != "info").map(|(_, calls)| calls).sum::<u64>()
        };
        let before = total(self.commands_run().await);
        work.await;
        total(self.commands_run().await) - before
    }

    /// Everything that stands in the key of a lock.
    async fn members(&self, key: &str) -> Vec<String> {
        self.cli(&["zrange", key, "0", "-1"]).await.lines().map(str::to_owned).collect()
    }

    /// What carries the deadlines of these entries.
    async fn lives(&self, key: &str, ids: &[&EntryId]) -> Vec<String> {
        let known = |member: &String| {
            let words: Vec<_> = member.split(' ').collect();
            words.len() == 5 && ids.iter().any(|id| id.as_str() == words[0])
        };
        self.members(key).await.into_iter().filter(known).collect()
    }

    /// These entries have not been renewed in time.
    async fn die(&self, key: &str, ids: &[&EntryId]) {
        for life in self.lives(key, ids).await {
            self.cli(&["zadd", key, PAST, &life]).await;
        }
    }
}

/// A deadline long ago: in the year 1970.
const PAST: &str = "17179869184";

async fn open(options: RedisOptions) -> Session {
    Redis::new(options).open_session().await.unwrap()
}

fn key(family: Family) -> LockKey {
    LockKey { family, name: LockName::new("l").unwrap() }
}

fn lock() -> LockKey {
    key(Family::Lock)
}

fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "a label".to_owned() }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

async fn enqueue(session: &Session, entry: &Entry) -> Enqueued {
    session.enqueue(&key(entry.kind.family()), entry).await.unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T> + Send) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn eventually<F: Future<Output = bool> + Send>(what: &str, condition: impl Fn() -> F + Send + Sync) {
    let all = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_made_once() {
    let bed = Bed::new().await;
    let (session, other, entry) = (bed.session().await, bed.session().await, entry(EntryKind::Exclusive));
    let first = enqueue(&session, &entry).await;
    assert_eq!(enqueue(&session, &entry).await, first);
    assert_eq!(session.list(&lock()).await.unwrap().entries.len(), 1);
    let refused = other.enqueue(&lock(), &entry).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Backend, Effect::None));
    assert_eq!(other.look(&lock(), &entry.id).await.unwrap(), Standing::Absent);
    assert_eq!(other.remove(&lock(), &entry.id).await.unwrap(), Removed::Absent);
    assert_eq!(session.look(&lock(), &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), Removed::Now);
    assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), Removed::Absent);
}

/// A request to make an entry arrives after its client gave up and removed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_request_brings_nothing_back() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let session = open(RedisOptions::new(proxy.address().to_string())).await;
    // The script must be known, or what is late would be the request to load it.
    enqueue(&bed.session().await, &entry(EntryKind::Exclusive)).await;
    let entry = entry(EntryKind::Exclusive);
    proxy.hold();
    let late = tokio::spawn({
        let (session, entry) = (session.clone(), entry.clone());
        async move { session.enqueue(&lock(), &entry).await }
    });
    eventually("the request is on its way", || async { proxy.held() > 0 }).await;
    late.abort();
    proxy.abandon();
    eventually("the removal", || async { session.remove(&lock(), &entry.id).await.is_ok() }).await;
    let before = bed.scripts_run().await;
    proxy.deliver();
    eventually("the late request", || async { bed.scripts_run().await > before }).await;
    assert!(!bed.members(QUEUE).await.iter().any(|member| member == entry.id.as_str()));
    let refused = session.enqueue(&lock(), &entry).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::EntryRemoved, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_exact_up_to_the_last() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    let last = (1u64 << 53) - 1;
    bed.cli(&["zadd", QUEUE, &(last - 3).to_string(), "#last"]).await;
    for token in [last - 2, last - 1, last] {
        let entry = entry(EntryKind::Shared);
        assert_eq!(enqueue(&session, &entry).await.token.get(), token);
        let details = session.describe(&lock()).await.unwrap();
        assert_eq!(details.last().map(|details| details.token.get()), Some(token));
    }
    let refused = session.enqueue(&lock(), &entry(EntryKind::Shared)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Backend, Effect::None));
    assert_eq!(session.list(&lock()).await.unwrap().entries.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_expires() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 2 }] {
        enqueue(&session, &entry(kind)).await;
    }
    let keys = bed.keys().await;
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in keys {
        let left: u64 = bed.cli(&["ttl", &key]).await.parse().unwrap();
        assert!((1..=24 * 60 * 60).contains(&left), "{key}: {left}");
    }
}

/// The tokens of a lock rise although the clock was wrong for a while, and however long nobody uses it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_ticket_outlives_a_clock_that_is_set_back() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    enqueue(&session, &entry(EntryKind::Shared)).await;
    let year_ahead = now() + Duration::from_secs(365 * 24 * 60 * 60);
    let last = u64::try_from(year_ahead.as_micros()).unwrap();
    bed.cli(&["zadd", QUEUE, &last.to_string(), "#last"]).await;
    let (first, second) = (entry(EntryKind::Shared), entry(EntryKind::Shared));
    assert_eq!(enqueue(&session, &first).await.token.get(), last + 1);
    let expires: u128 = bed.cli(&["pexpiretime", QUEUE]).await.parse().unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(expires, (year_ahead + day).as_millis());
    session.remove(&lock(), &first.id).await.unwrap();
    assert_eq!(bed.cli(&["pexpiretime", QUEUE]).await.parse(), Ok(expires));
    assert_eq!(enqueue(&session, &second).await.token.get(), last + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_use_does_not_expire() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(SHORT)).await;
    enqueue(&session, &entry(EntryKind::Exclusive)).await;
    bed.cli(&["pexpire", QUEUE, "2000"]).await;
    eventually("a renewal", || async {
        bed.cli(&["ttl", QUEUE]).await.parse::<u64>().is_ok_and(|left| left > 60 * 60)
    })
    .await;
}

/// The clock was set back: the deadlines that were made before are too late by as much.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_makes_nobody_immortal() {
    let bed = Bed::new().await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 3 }] {
        // Nobody renews: only deadlines count.
        let holders = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
        let waits = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
        let (key, queue) = (key(kind.family()), format!("fairlock:{{{}:l}}:queue", kind.family()));
        let held = [kind; 3].map(entry);
        for entry in &held {
            enqueue(&holders, entry).await;
        }
        let next = entry(match kind {
            EntryKind::Permits { limit, .. } => EntryKind::Permits { permits: limit, limit },
            _ => EntryKind::Exclusive,
        });
        enqueue(&waits, &next).await;
        let year_ahead = (now() + Duration::from_secs(365 * 24 * 60 * 60)).as_millis().to_string();
        for life in bed.lives(&queue, &held.each_ref().map(|entry| &entry.id)).await {
            bed.cli(&["zadd", &queue, &year_ahead, &life]).await;
        }
        // Whoever waits looks, each for those ahead.
        holders.look(&key, &held[2].id).await.unwrap();
        holders.look(&key, &held[1].id).await.unwrap();
        waits.look(&key, &next.id).await.unwrap();
        for life in bed.lives(&queue, &held.each_ref().map(|entry| &entry.id)).await {
            let deadline: u128 = bed.cli(&["zscore", &queue, &life]).await.parse().unwrap();
            assert!(deadline <= (now() + MINUTES).as_millis(), "{kind} {life} until {deadline}");
        }
        for session in [holders, waits] {
            session.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_entries_go_wherever_they_stand() {
    let bed = Bed::new().await;
    let (session, other) = (bed.session().await, bed.session().await);
    let entries = [EntryKind::Exclusive; 4].map(entry);
    for (entry, owner) in entries.iter().zip([&session, &other, &session, &other]) {
        enqueue(owner, entry).await;
    }
    bed.die(QUEUE, &[&entries[0].id, &entries[2].id]).await;
    assert_eq!(other.look(&lock(), &entries[1].id).await.unwrap(), Standing::Holds);
    let listed = other.list(&lock()).await.unwrap().entries;
    assert_eq!(listed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&entries[1].id, &entries[3].id]);
    // Its owner is told, by a message, that it is not there any more.
    within("the news", session.watch(&lock(), &[entries[0].id.clone()], Revision::default())).await.unwrap();
    assert_eq!(session.look(&lock(), &entries[0].id).await.unwrap(), Standing::Absent);
}

/// An entry without a deadline gets one from whoever waits for it, and so it is neither in the way for ever nor asked for all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_deadline_is_set() {
    let bed = Bed::new().await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 2 }] {
        let holders = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
        let (key, queue) = (key(kind.family()), format!("fairlock:{{{}:l}}:queue", kind.family()));
        let held = [kind; 2].map(entry);
        for entry in &held {
            enqueue(&holders, entry).await;
        }
        let lives = bed.lives(&queue, &[&held[0].id]).await;
        bed.cli(&["zrem", &queue, &lives[0]]).await;
        let next = entry(match kind {
            EntryKind::Permits { limit, .. } => EntryKind::Permits { permits: limit, limit },
            _ => EntryKind::Exclusive,
        });
        enqueue(&holders, &next).await;
        if kind == EntryKind::Exclusive {
            holders.look(&key, &held[1].id).await.unwrap();
        }
        assert_eq!(bed.lives(&queue, &[&held[0].id]).await, lives, "{kind}");
        holders.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_up_counts_locks_of_the_dead() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    let entries = [EntryKind::Exclusive, EntryKind::Permits { permits: 1, limit: 2 }].map(entry);
    for entry in &entries {
        enqueue(&session, entry).await;
    }
    assert_eq!((session.cleanup().await.unwrap(), session.names().await.unwrap().len()), (0, 2));
    bed.die(QUEUE, &[&entries[0].id]).await;
    assert_eq!((session.cleanup().await.unwrap(), session.names().await.unwrap().len()), (1, 1));
}

/// Whatever somebody else put into the key of a lock is no entry, and in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_count() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    let scores =
        ["1", "-1", "0", PAST, "1795728479628324", "-1795728479628324", "-8e15", "8e15", "-inf", "inf"];
    for (number, score) in scores.into_iter().enumerate() {
        for name in ["stranger", "x 1 1 1", "#stranger", "-stranger", "stranger ex 1 1"] {
            bed.cli(&["zadd", QUEUE, score, &format!("{name}{number}")]).await;
        }
    }
    let entries = [EntryKind::Shared, EntryKind::Exclusive, EntryKind::Shared].map(entry);
    for (entry, holds) in entries.iter().zip([true, false, false]) {
        assert_eq!(enqueue(&session, entry).await.standing == Standing::Holds, holds);
    }
    let listed = session.describe(&lock()).await.unwrap();
    assert!(listed.iter().map(|details| &details.id).eq(entries.iter().map(|entry| &entry.id)), "{listed:?}");
    session.remove(&lock(), &entries[0].id).await.unwrap();
    assert_eq!(session.look(&lock(), &entries[1].id).await.unwrap(), Standing::Holds);
    assert_eq!(session.names().await.unwrap(), [lock()]);
}

/// A lock is one key: there is no part of it without which somebody who should wait is let in, or nobody is.
#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_lock_can_be_lost_unnoticed() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    let mut number = 0;
    loop {
        let (session, later) = (open(options.clone()).await, open(options.clone()).await);
        let entries = [EntryKind::Shared, EntryKind::Exclusive, EntryKind::Shared].map(entry);
        enqueue(&session, &entries[0]).await;
        enqueue(&session, &entries[1]).await;
        assert_eq!(bed.keys().await.iter().filter(|key| key.contains('{')).count(), 1);
        let members = bed.members(QUEUE).await;
        let Some(lost) = members.get(number) else { break };
        bed.cli(&["zrem", QUEUE, lost]).await;
        let shared = enqueue(&later, &entries[2]).await.standing;
        let holder = session.look(&lock(), &entries[0].id).await.unwrap();
        let writer = session.look(&lock(), &entries[1].id).await.unwrap();
        if writer == Standing::Absent {
            assert!(lost.starts_with(entries[1].id.as_str()), "{lost}");
        } else {
            assert!(matches!(shared, Standing::Waits { .. }), "without {lost}: {shared:?}");
            assert_eq!(writer == Standing::Holds, holder == Standing::Absent, "without {lost}: {writer:?}");
        }
        for session in [session, later] {
            session.close().await.unwrap();
        }
        assert_eq!(session_count(&bed).await, 0, "without {lost}");
        number += 1;
    }
    assert!(number > 8);
}

/// How many entries stand in the queue.
async fn session_count(bed: &Bed) -> usize {
    bed.members(QUEUE)
        .await
        .iter()
        .filter(|member| member.contains(" ex ") || member.contains(" sh "))
        .count()
}

/// The cost of a hand-over: one request to release, one to look; not more with more waiters.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_costs_the_same_however_many_wait() {
    let bed = Bed::new().await;
    let (session, first) = (bed.session().await, entry(EntryKind::Exclusive));
    enqueue(&session, &first).await;
    // The first calls load their scripts.
    session.look(&lock(), &first.id).await.unwrap();
    session.remove(&lock(), &first.id).await.unwrap();
    session.close().await.unwrap();
    for (waiters, kind) in [
        (2, EntryKind::Exclusive),
        (300, EntryKind::Exclusive),
        (300, EntryKind::Permits { permits: 1, limit: 1 }),
    ] {
        // No renewal comes between.
        let session = open(
            RedisOptions::new(bed.server.address())
                .with_session_timeout(Duration::from_secs(600))
                .with_connect_timeout(Duration::from_secs(20)),
        )
        .await;
        let lock = key(kind.family());
        let entries: Vec<Entry> = (0..waiters).map(|_| entry(kind)).collect();
        let mut asleep = Vec::new();
        for entry in &entries {
            let standing = enqueue(&session, entry).await.standing;
            let Standing::Waits { wake, seen } = standing else { continue };
            let (session, lock) = (session.clone(), lock.clone());
            asleep.push(tokio::spawn(async move { session.watch(&lock, &wake, seen).await }));
        }
        let before = bed.scripts_run().await;
        assert_eq!(session.remove(&lock, &entries[0].id).await.unwrap(), Removed::Now);
        within("the next wakes", asleep.remove(0)).await.unwrap().unwrap();
        assert_eq!(session.look(&lock, &entries[1].id).await.unwrap(), Standing::Holds);
        assert_eq!(bed.scripts_run().await - before, 2);
        assert!(asleep.iter().all(|waiter| !waiter.is_finished()), "more than one woke");
        asleep.iter().for_each(tokio::task::JoinHandle::abort);
        session.close().await.unwrap();
    }
}

/// What a semaphore costs does not depend on how many permits it has, nor what one dead holder costs on how many hold or wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_semaphore_costs_the_same_however_many_permits_it_has() {
    let bed = Bed::new().await;
    let mut costs = Vec::new();
    // The first calls load their scripts.
    for limit in [4, 4, 400] {
        let kind = EntryKind::Permits { permits: 1, limit };
        let (lock, queue) = (key(kind.family()), format!("fairlock:{{{}:l}}:queue", kind.family()));
        let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
        let holders: Vec<Entry> = (0..limit).map(|_| entry(kind)).collect();
        let waiters = [kind; 3].map(entry);
        let last = holders.last().unwrap();
        for entry in holders.iter().filter(|entry| *entry != last) {
            enqueue(&session, entry).await;
        }
        let mut cost = Vec::new();
        for entry in [last].into_iter().chain(&waiters) {
            cost.push(bed.commands_for(async { drop(enqueue(&session, entry).await) }).await);
        }
        let look = async |id: &EntryId| session.look(&lock, id).await.unwrap();
        cost.push(bed.commands_for(async { drop(look(&waiters[2].id).await) }).await);
        bed.die(&queue, &[&holders[1].id]).await;
        cost.push(bed.commands_for(async { drop(look(&waiters[0].id).await) }).await);
        assert_eq!(look(&waiters[0].id).await, Standing::Holds);
        cost.push(bed.commands_for(async { _ = session.remove(&lock, &last.id).await.unwrap() }).await);
        assert_eq!(look(&waiters[1].id).await, Standing::Holds);
        costs.push(cost);
        session.close().await.unwrap();
    }
    assert_eq!(costs[1], costs[2]);
}

/// All who died are removed first, and only then is it calculated once whom that lets in.
#[tokio::test(flavor = "multi_thread")]
async fn many_deaths_cost_little_each() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    let (dying, session) = (open(options.clone()).await, open(options).await);
    let kind = EntryKind::Permits { permits: 1, limit: 300 };
    let (lock, queue) = (key(kind.family()), format!("fairlock:{{{}:l}}:queue", kind.family()));
    let dead: Vec<Entry> = (0..300).map(|_| entry(kind)).collect();
    for entry in &dead {
        enqueue(&dying, entry).await;
    }
    let waiter = entry(EntryKind::Permits { permits: 300, limit: 300 });
    enqueue(&session, &waiter).await;
    bed.die(&queue, &dead.iter().map(|entry| &entry.id).collect::<Vec<_>>()).await;
    let cost = bed
        .commands_for(async {
            assert_eq!(session.look(&lock, &waiter.id).await.unwrap(), Standing::Holds);
        })
        .await;
    // One for each, a few for the script.
    assert!((300..330).contains(&cost), "{cost}");
}
