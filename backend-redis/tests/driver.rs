//! What the driver itself does, on one Redis server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;

use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use bed::*;
use conformance::deadline::{eventually, within};
use conformance::proxy::Proxy;
use lockcore::queue::Standing;
use lockcore::{Effect, Entry, EntryId, EntryKind, ErrorKind, QueueBackend, Removed};

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

/// Of what somebody removed by hand, or a part of it, nothing is left, and it counts as gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_was_not_there() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    for part in 0..3 {
        let alone = entry(EntryKind::Exclusive);
        enqueue(&session, &alone).await;
        let parts = bed.members(QUEUE).await;
        let mut parts = parts.iter().filter(|member| member.starts_with(alone.id.as_str()));
        bed.cli(&["zrem", QUEUE, parts.nth(part).unwrap()]).await;
        assert_eq!(session.remove(&lock(), &alone.id).await.unwrap(), Removed::Absent);
    }
    for kind in [EntryKind::Exclusive, EntryKind::Shared] {
        for holds in [true, false] {
            for part in 0..3 {
                let first = entry(EntryKind::Exclusive);
                if !holds {
                    enqueue(&session, &first).await;
                }
                let (removed, next) = (entry(kind), entry(EntryKind::Exclusive));
                enqueue(&session, &removed).await;
                enqueue(&session, &next).await;
                let parts = bed.members(QUEUE).await;
                let mut parts = parts.iter().filter(|member| member.starts_with(removed.id.as_str()));
                bed.cli(&["zrem", QUEUE, parts.nth(part).unwrap()]).await;
                assert_eq!(session.remove(&lock(), &removed.id).await.unwrap(), Removed::Absent);
                let left = bed.members(QUEUE).await;
                assert!(!left.iter().any(|member| member.starts_with(removed.id.as_str())), "{left:?}");
                if !holds {
                    assert_eq!(session.remove(&lock(), &first.id).await.unwrap(), Removed::Now);
                }
                assert_eq!(session.look(&lock(), &next.id).await.unwrap(), Standing::Holds);
                assert_eq!(session.remove(&lock(), &next.id).await.unwrap(), Removed::Now);
            }
        }
    }
}

/// How a client gives up a request to make an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
enum GivingUp {
    Dropped,
    Failed,
    /// And has looked for it in vain.
    NotFound,
}

/// A request to make an entry arrives after its client gave up and removed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_request_brings_nothing_back() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    // The script must be known, or what is late would be another request with all of it.
    enqueue(&bed.session().await, &entry(EntryKind::Shared)).await;
    for way in [GivingUp::Dropped, GivingUp::Failed, GivingUp::NotFound] {
        let session = open(RedisOptions::new(proxy.address().to_string())).await;
        let entry = entry(EntryKind::Shared);
        let held = proxy.held();
        proxy.hold();
        let late = tokio::spawn({
            let (session, entry) = (session.clone(), entry.clone());
            async move { session.enqueue(&lock(), &entry).await }
        });
        eventually("the request is on its way", || async { proxy.held() > held }).await;
        if way == GivingUp::Dropped {
            late.abort();
            let _ = late.await;
            proxy.abandon();
        } else {
            proxy.abandon();
            let failed = late.await.unwrap().unwrap_err();
            assert_eq!((failed.kind(), failed.effect()), (ErrorKind::Unreachable, Effect::Unknown));
        }
        if way == GivingUp::NotFound {
            let looked = async || session.look(&lock(), &entry.id).await;
            eventually("a look", || async { looked().await.is_ok_and(|seen| seen == Standing::Absent) })
                .await;
        }
        eventually("the removal", || async { session.remove(&lock(), &entry.id).await.is_ok() }).await;
        let before = bed.scripts_run().await;
        proxy.deliver();
        eventually("the late request", || async { bed.scripts_run().await > before }).await;
        let there = bed.members(QUEUE).await.iter().any(|member| member == entry.id.as_str());
        assert!(!there, "{way:?}");
        let refused = session.enqueue(&lock(), &entry).await.unwrap_err();
        assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::EntryRemoved, false));
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tombstone_without_need() {
    let bed = Bed::new().await;
    let (session, entry) = (bed.session().await, entry(EntryKind::Exclusive));
    enqueue(&session, &entry).await;
    assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), Removed::Now);
    let left = bed.members(QUEUE).await;
    assert!(left.iter().all(|member| member.starts_with('#')), "{left:?}");
}

/// However it went, and whoever removed it.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_removes_what_is_left_and_nothing_else() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    let [removed, removed_by_hand, left] = [EntryKind::Shared; 3].map(entry);
    for (entry, answer) in [(&removed, Removed::Now), (&removed_by_hand, Removed::Absent)] {
        enqueue(&session, entry).await;
        if answer == Removed::Absent {
            bed.cli(&["del", QUEUE]).await;
        }
        assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), answer);
    }
    enqueue(&session, &left).await;
    assert_eq!(bed.scripts_for(async { session.close().await.unwrap() }).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_operation_the_lock_and_the_server() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address())
        .with_session_timeout(MINUTES)
        .with_connect_timeout(Duration::from_millis(200));
    let session = open(options.clone()).await;
    let (lock, entry) = (lock(), entry(EntryKind::Exclusive));
    session.enqueue(&lock, &entry).await.unwrap();
    bed.server.pause().unwrap();
    for (operation, error) in [
        ("enqueue", session.enqueue(&lock, &entry).await.map(drop).unwrap_err()),
        ("look", session.look(&lock, &entry.id).await.map(drop).unwrap_err()),
        ("list", session.list(&lock).await.map(drop).unwrap_err()),
        ("removal", session.remove(&lock, &entry.id).await.map(drop).unwrap_err()),
    ] {
        let message = error.to_string();
        assert!(message.contains(bed.server.address()), "{message}");
        // Whoever could not connect again did not even ask.
        let named = message.starts_with(&format!("{operation} of the lock \"l\" on "));
        assert!(named || message.starts_with("connection on "), "{message}");
    }
    let refused = Redis::new(options).open_session().await.unwrap_err();
    assert!(refused.to_string().contains(bed.server.address()), "{refused}");
}

/// Most of what a script takes are its commands, so they say what a server can bear.
#[tokio::test(flavor = "multi_thread")]
async fn a_free_lock_costs_seven_commands() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 3 }] {
        let lock = key(kind.family());
        let use_it = async || {
            let entry = entry(kind);
            assert_eq!(enqueue(&session, &entry).await.standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        };
        // The first calls load their scripts and make the key.
        use_it().await;
        let cost = bed.commands_for(use_it()).await;
        assert!(cost <= 7, "{cost} for a lock that is {kind}");
        // Two held, or one waited: what that left behind goes with the next use.
        let [first, second] = [kind; 2].map(entry);
        enqueue(&session, &first).await;
        enqueue(&session, &second).await;
        for entry in [&second, &first] {
            session.remove(&lock, &entry.id).await.unwrap();
        }
        use_it().await;
        assert_eq!(bed.commands_for(use_it()).await, cost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_costs_the_same_however_many_wait() {
    let bed = Bed::new().await;
    let (session, first) = (bed.session().await, entry(EntryKind::Exclusive));
    // The first calls load their scripts.
    enqueue(&session, &first).await;
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
            let (session, lock, id) = (session.clone(), lock.clone(), entry.id.clone());
            asleep.push(tokio::spawn(async move { session.watch(&lock, &id, &wake, seen).await }));
        }
        let last = entry(kind);
        let (mut leaves, mut comes) = (0, 0);
        let scripts = bed
            .scripts_for(async {
                let removed = async { _ = session.remove(&lock, &entries[0].id).await.unwrap() };
                leaves = bed.commands_for(removed).await;
                let woken = within("the next wakes", asleep.remove(0)).await.unwrap().unwrap();
                assert_eq!(woken, Some(Standing::Holds));
                comes = bed.commands_for(async { drop(enqueue(&session, &last).await) }).await;
            })
            .await;
        assert_eq!(scripts, 2);
        assert!(leaves <= 5 && comes <= 6, "{leaves} commands to leave, {comes} to come");
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
    let kind = EntryKind::Permits { permits: 1, limit: 250 };
    let (lock, queue) = (key(kind.family()), format!("fairlock:{{{}:l}}:queue", kind.family()));
    let dead: Vec<Entry> = (0..250).map(|_| entry(kind)).collect();
    for entry in &dead {
        enqueue(&dying, entry).await;
    }
    let waiter = entry(EntryKind::Permits { permits: 250, limit: 250 });
    enqueue(&session, &waiter).await;
    bed.die(&queue, &dead.iter().map(|entry| &entry.id).collect::<Vec<_>>()).await;
    let cost = bed
        .commands_for(async {
            assert_eq!(session.look(&lock, &waiter.id).await.unwrap(), Standing::Holds);
        })
        .await;
    // One for each, a few for the script.
    assert!((250..280).contains(&cost), "{cost}");
}

/// Waits its turn, as the core does.
async fn wait(session: Session, entry: Entry, mut standing: Standing) {
    let lock = key(entry.kind.family());
    while let Standing::Waits { wake, seen } = standing {
        standing = match session.watch(&lock, &entry.id, &wake, seen).await.unwrap() {
            Some(standing) => standing,
            None => session.look(&lock, &entry.id).await.unwrap(),
        };
    }
    assert_eq!(standing, Standing::Holds);
}

/// One script neither lets in nor removes more entries than a batch; the rest follows.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_batch_of_entries_come_in_and_go() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    let (session, dying) = (open(options.clone()).await, open(options).await);
    let readers: Vec<Entry> = (0..1000).map(|_| entry(EntryKind::Shared)).collect();
    let (first, last) = (entry(EntryKind::Exclusive), entry(EntryKind::Exclusive));
    enqueue(&session, &first).await;
    let mut waiting = Vec::new();
    for reader in &readers {
        let standing = enqueue(&dying, reader).await.standing;
        assert!(matches!(standing, Standing::Waits { .. }));
        waiting.push(tokio::spawn(wait(dying.clone(), reader.clone(), standing)));
    }
    let waits = enqueue(&session, &last).await.standing;
    session.remove(&lock(), &first.id).await.unwrap();
    for waiting in within("all readers are let in", futures::future::join_all(waiting)).await {
        waiting.unwrap();
    }
    let ids: Vec<_> = readers.iter().map(|reader| &reader.id).collect();
    bed.die(QUEUE, &ids).await;
    assert!(matches!(waits, Standing::Waits { .. }));
    let standing = session.look(&lock(), &last.id).await.unwrap();
    within("all of them have died", wait(session.clone(), last, standing)).await;
}

/// Although nobody of those who were let in does anything.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_lets_in_what_is_left_of_a_batch() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    let first = entry(EntryKind::Exclusive);
    enqueue(&session, &first).await;
    for _ in 0..600 {
        enqueue(&session, &entry(EntryKind::Shared)).await;
    }
    session.remove(&lock(), &first.id).await.unwrap();
    for _ in 0..2 {
        enqueue(&session, &entry(EntryKind::Shared)).await;
    }
    let held = bed.cli(&["zscore", QUEUE, "#used"]).await;
    assert_eq!(held, "602");
}
