//! What stands in the key of a lock: deadlines, tokens, and what others may do to it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;

use std::time::Duration;

use backend_redis::RedisOptions;
use bed::*;
use conformance::deadline::{eventually, within};
use conformance::proxy::Proxy;
use lockcore::queue::Standing;
use lockcore::{Effect, Entry, EntryKind, ErrorKind, Revision};

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

/// However little the clock is set back, and although nobody is there.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_free_lock_rise_when_the_clock_is_set_back() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    let mut last = u64::try_from((now() + Duration::from_secs(5)).as_micros()).unwrap();
    bed.cli(&["zadd", QUEUE, &last.to_string(), "#last"]).await;
    for _ in 0..3 {
        let entry = entry(EntryKind::Exclusive);
        let token = enqueue(&session, &entry).await.token.get();
        assert!(token > last, "{token} after {last}");
        session.remove(&lock(), &entry.id).await.unwrap();
        last = token;
    }
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

/// Its life is counted from the first use in each half of a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_used_now_and_then_does_not_expire() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    let used = async || {
        let entry = entry(EntryKind::Exclusive);
        enqueue(&session, &entry).await;
        session.remove(&lock(), &entry.id).await.unwrap();
    };
    used().await;
    let half_a_day = Duration::from_secs(12 * 60 * 60);
    let before = (now() - half_a_day).as_micros().to_string();
    bed.cli(&["zadd", QUEUE, &before, "#last"]).await;
    bed.cli(&["expire", QUEUE, "60"]).await;
    used().await;
    let left: u64 = bed.cli(&["ttl", QUEUE]).await.parse().unwrap();
    assert!(left > half_a_day.as_secs(), "{left}");
}

/// What keeps an id away lives as long as that, and so does the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_a_lock_that_expires_and_that_somebody_clears_away() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let (far, near) = (open(RedisOptions::new(proxy.address().to_string())).await, bed.session().await);
    // The script must be known, or what is late would be another request with all of it.
    near.remove(&lock(), &entry(EntryKind::Exclusive).id).await.unwrap();
    proxy.hold();
    let unheard = entry(EntryKind::Exclusive);
    let late = tokio::time::timeout(Duration::from_millis(10), far.enqueue(&lock(), &unheard)).await;
    assert!(late.is_err());
    proxy.abandon();
    eventually("the removal", || async { far.remove(&lock(), &unheard.id).await.is_ok() }).await;
    let tombstone = format!("-{}", unheard.id);
    assert_eq!(bed.members(QUEUE).await, [&*tombstone]);
    assert!(bed.cli(&["ttl", QUEUE]).await.parse::<u64>().unwrap() > 0);
    bed.cli(&["zadd", QUEUE, PAST, &tombstone]).await;
    enqueue(&near, &entry(EntryKind::Exclusive)).await;
    assert!(!bed.members(QUEUE).await.contains(&tombstone));
}

/// Whoever comes need not wait for the dead, neither for who holds nor for who waits, whatever the kind.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_finds_out_who_is_dead() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 2, limit: 3 }] {
        let queue = format!("fairlock:{{{}:l}}:queue", kind.family());
        for count in 1..4 {
            let session = open(options.clone()).await;
            let dead: Vec<Entry> = (0..count).map(|_| entry(kind)).collect();
            for entry in &dead {
                enqueue(&session, entry).await;
            }
            bed.die(&queue, &dead.iter().map(|entry| &entry.id).collect::<Vec<_>>()).await;
            let comes = entry(if kind == EntryKind::Shared { EntryKind::Exclusive } else { kind });
            assert_eq!(enqueue(&session, &comes).await.standing, Standing::Holds, "behind {count} of {kind}");
            session.close().await.unwrap();
        }
    }
}

/// What the dead thought of the limit is of no matter, and whoever waited for them is let in.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_agree_with_the_dead() {
    let bed = Bed::new().await;
    let session = open(RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)).await;
    let queue = "fairlock:{semaphore:l}:queue";
    let permit = |limit| entry(EntryKind::Permits { permits: 1, limit });
    let dead = permit(1);
    enqueue(&session, &dead).await;
    bed.die(queue, &[&dead.id]).await;
    let [holds, waits, disagrees, comes] = [2, 2, 3, 2].map(permit);
    assert_eq!(enqueue(&session, &holds).await.standing, Standing::Holds);
    assert_eq!(enqueue(&session, &waits).await.standing, Standing::Holds);
    let refused = enqueue(&session, &disagrees).await.standing;
    assert_eq!(refused, Standing::LimitMismatch { theirs: 2 });
    bed.die(queue, &[&waits.id]).await;
    assert_eq!(enqueue(&session, &comes).await.standing, Standing::Holds);
}

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
        // A waiter looks at who is directly ahead, the first one at all whom it waits for.
        let year_later = async |entry: &Entry| {
            let life = bed.lives(&queue, &[&entry.id]).await.remove(0);
            let deadline: u128 = bed.cli(&["zscore", &queue, &life]).await.parse().unwrap();
            deadline > (now() + MINUTES).as_millis()
        };
        if kind == EntryKind::Exclusive {
            for (looks, ahead) in [(&next, &held[2]), (&held[2], &held[1])] {
                assert!(year_later(ahead).await);
                let session = if looks == &next { &waits } else { &holders };
                session.look(&key, &looks.id).await.unwrap();
                assert!(!year_later(ahead).await);
            }
            holders.look(&key, &held[1].id).await.unwrap();
        } else {
            waits.look(&key, &next.id).await.unwrap();
        }
        for entry in &held {
            assert!(!year_later(entry).await, "{kind}");
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
    within("the news", session.watch(&lock(), &entries[0].id, &[entries[0].id.clone()], Revision::default()))
        .await
        .unwrap();
    assert_eq!(session.look(&lock(), &entries[0].id).await.unwrap(), Standing::Absent);
}

/// A waiter that was removed by hand is in nobody's way, even if its owner does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_who_was_removed_by_hand() {
    let bed = Bed::new().await;
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    let (session, unaware) = (open(options.clone()).await, open(options).await);
    let [first, removed, next] = [EntryKind::Exclusive; 3].map(entry);
    enqueue(&session, &first).await;
    enqueue(&unaware, &removed).await;
    enqueue(&session, &next).await;
    bed.cli(&["zrem", QUEUE, removed.id.as_str()]).await;
    session.remove(&lock(), &first.id).await.unwrap();
    assert_eq!(session.look(&lock(), &next.id).await.unwrap(), Standing::Holds);
    assert_eq!(unaware.look(&lock(), &removed.id).await.unwrap(), Standing::Absent);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_lock_can_be_lost_unnoticed() {
    let bed = Bed::new().await;
    for readers in 1..=2 {
        let mut number = 0;
        while loses_a_part(&bed, readers, number).await {
            number += 1;
        }
        // Three of each entry, the last ticket, and where several hold how many.
        assert_eq!(number, 3 * readers + 4 + if readers > 1 { 2 } else { 0 });
    }
}

/// So many hold, a writer waits, the part with this number is lost, and somebody else comes. Whether there is such a part.
async fn loses_a_part(bed: &Bed, readers: usize, number: usize) -> bool {
    let options = RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES);
    let (session, later) = (open(options.clone()).await, open(options).await);
    let held: Vec<Entry> = (0..readers).map(|_| entry(EntryKind::Shared)).collect();
    let [waits, comes] = [EntryKind::Exclusive, EntryKind::Shared].map(entry);
    for entry in held.iter().chain([&waits]) {
        enqueue(&session, entry).await;
    }
    assert_eq!(bed.keys().await.iter().filter(|key| key.contains('{')).count(), 1);
    let Some(lost) = bed.members(QUEUE).await.into_iter().nth(number) else {
        bed.cli(&["del", QUEUE]).await;
        return false;
    };
    bed.cli(&["zrem", QUEUE, &lost]).await;
    let shared = enqueue(&later, &comes).await.standing;
    let mut nobody_holds = true;
    for entry in &held {
        nobody_holds &= session.look(&lock(), &entry.id).await.unwrap() == Standing::Absent;
    }
    let writer = session.look(&lock(), &waits.id).await.unwrap();
    if writer == Standing::Absent {
        assert!(lost.starts_with(waits.id.as_str()), "{lost}");
    } else {
        assert!(matches!(shared, Standing::Waits { .. }), "without {lost}: {shared:?}");
        assert_eq!(writer == Standing::Holds, nobody_holds, "without {lost}: {writer:?}");
    }
    for session in [session, later] {
        session.close().await.unwrap();
    }
    assert_eq!(session_count(bed).await, 0, "without {lost}");
    bed.cli(&["del", QUEUE]).await;
    true
}

/// How many entries stand in the queue.
async fn session_count(bed: &Bed) -> usize {
    bed.members(QUEUE)
        .await
        .iter()
        .filter(|member| member.contains(" ex ") || member.contains(" sh "))
        .count()
}
