//! What is peculiar to queues and watches on etcd, against a real server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::bed::{
    Bed, enqueue, entry, eventually, exclusive, hold, key, lock, open, repeat, through, waits, wake, within,
};
use backend_etcd::EtcdOptions;
use etcd_client::CompactionOptions;
use futures::stream::{FuturesUnordered, StreamExt};
use lockcore::queue::Standing;
use lockcore::{
    Effect, Entry, EntryKind, ErrorKind, Family, FencingToken, Loss, Removed, Revision, SessionState,
};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_among_the_entries_are_ignored_and_left_alone() {
    let bed = Bed::new().await;
    let (session, lock, first, second) = (bed.session().await, lock("a"), exclusive(), exclusive());
    let strangers = ["zzz", "lock-abc", "ex-x-0", "é", "ex-0-0/y", "0-0", "ex-00-0"];
    bed.put("/fairlock/lock/a/before", "").await;
    assert_eq!(enqueue(&session, &lock, &first).await.standing, Standing::Holds);
    for stranger in strangers {
        bed.put(&format!("/fairlock/lock/a/{stranger}"), "").await;
    }
    assert_eq!(waits(&session, &lock, &second).await.0, [bed.place(&first.id).await]);
    let standing = session.look(&lock, &second.id).await.unwrap();
    assert!(matches!(standing, Standing::Waits { .. }), "a stranger hides the holder: {standing:?}");
    assert_eq!(session.list(&lock).await.unwrap().entries.len(), 2);
    assert_eq!(session.remove(&lock, &first.id).await.unwrap(), Removed::Now);
    assert_eq!(session.look(&lock, &second.id).await.unwrap(), Standing::Holds);
    assert_eq!(session.cleanup().await.unwrap(), 0);
    assert_eq!(bed.entries().await.len(), strangers.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_longer_than_the_head_that_is_read_has_the_same_order() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(30).collect();
    assert_eq!(enqueue(&session, &lock, &entries[0]).await.standing, Standing::Holds);
    for pair in entries.windows(2) {
        // Some of those ahead are enough to know that it waits; whoever asks is told the next.
        assert_eq!(waits(&session, &lock, &pair[1]).await.0.len(), 1);
        assert_eq!(wake(&session, &lock, &pair[1]).await, [bed.place(&pair[0].id).await]);
    }
    let described = session.describe(&lock).await.unwrap();
    assert!(described.iter().map(|entry| &entry.id).eq(entries.iter().map(|entry| &entry.id)));
    let reader = entry(EntryKind::Shared);
    assert_eq!(waits(&session, &lock, &reader).await.0.len(), 1);
    assert_eq!(wake(&session, &lock, &reader).await, [bed.place(&entries[29].id).await]);
    assert_eq!(session.remove(&lock, &entries[28].id).await.unwrap(), Removed::Now);
    assert_eq!(wake(&session, &lock, &entries[29]).await, [bed.place(&entries[27].id).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_be_longer_than_the_library_likes() {
    let bed = Bed::new().await;
    let label = "x".repeat(1_000_000);
    for number in 0..5 {
        bed.put(&format!("/fairlock/lock/a/ex-9-{number}"), &label).await;
    }
    let details = bed.session().await.describe(&lock("a")).await.unwrap();
    assert_eq!(details.len(), 5);
    assert!(details.iter().all(|entry| entry.label == label));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_create_revisions_and_labels_are_values() {
    let bed = Bed::new().await;
    let (session, semaphore) = (bed.session().await, key(Family::Semaphore, "a"));
    let mut last = FencingToken::new(0);
    for _ in 0..3 {
        let entry = entry(EntryKind::Permits { permits: 1, limit: 2 });
        let token = enqueue(&session, &semaphore, &entry).await.token;
        let seen = bed.under("/fairlock/semaphore/a/").await.remove(0);
        assert_eq!(seen.key_str().unwrap(), "/fairlock/semaphore/a/sem-1-2-0-0");
        assert_eq!(seen.value_str().unwrap(), format!("{} quirks é", entry.id));
        assert_eq!(u64::try_from(seen.create_revision()).unwrap(), token.get());
        assert!(token > last);
        last = token;
        let details = session.describe(&semaphore).await.unwrap().remove(0);
        assert_eq!((details.token, details.label.as_str(), details.since), (token, "quirks é", None));
        assert_eq!(session.remove(&semaphore, &entry.id).await.unwrap(), Removed::Now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_reply_was_lost_is_adopted() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    proxy.mute();
    let lost = async {
        eventually("an entry", || async { !bed.entries().await.is_empty() }).await;
        proxy.heal();
    };
    let first = within("the first attempt", async { tokio::join!(session.enqueue(&lock, &entry), lost).0 });
    let error = first.await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown), "{error:?}");
    let behind = bed.session().await;
    assert_eq!(waits(&behind, &lock, &exclusive()).await.0, [bed.place(&entry.id).await]);
    let enqueued = enqueue(&session, &lock, &entry).await;
    assert_eq!(enqueued.standing, Standing::Holds);
    let created = bed.find(&entry.id).await.unwrap().create_revision();
    assert_eq!(enqueued.token.get(), u64::try_from(created).unwrap());
    assert_eq!(bed.entries().await.len(), 2);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_session_is_neither_adopted_nor_removed() {
    let bed = Bed::new().await;
    let (ours, theirs, lock, entry) = (bed.session().await, bed.session().await, lock("a"), exclusive());
    let token = enqueue(&theirs, &lock, &entry).await.token;
    assert_eq!(ours.look(&lock, &entry.id).await.unwrap(), Standing::Absent);
    assert_eq!(ours.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
    assert!(enqueue(&ours, &lock, &entry).await.token > token);
    assert_eq!(ours.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    assert_eq!(theirs.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(theirs.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_watches_leave_nothing_on_the_server() {
    let bed = Bed::new().await;
    let (session, lock, first) = (bed.session().await, lock("a"), exclusive());
    let seen = Revision(enqueue(&session, &lock, &first).await.token.get());
    let ids = [first.id];
    let mut watches: FuturesUnordered<_> =
        (0..100).map(|_| session.watch(&lock, &ids[0], &ids, seen)).collect();
    tokio::select! {
        _ = watches.next() => panic!("the entry has not left"),
        () = eventually("a watch", || async { bed.watches().await == 2.0 }) => {}
    }
    drop(watches);
    eventually("no watch", || async { bed.watches().await == 1.0 }).await;
    session.remove(&lock, &ids[0]).await.unwrap();
    for since in [Revision(0), seen] {
        within("a watch on nothing", session.watch(&lock, &ids[0], &ids, since)).await.unwrap();
    }
    eventually("no watch", || async { bed.watches().await == 1.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_wakes_or_is_not_noticed() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (holder, waiter, lock) = (bed.session().await, through(&proxy).await, lock("a"));
    eventually("an inbox", || async { bed.watches().await == 2.0 }).await;
    let (first, second) = (exclusive(), exclusive());
    enqueue(&holder, &lock, &first).await;
    let (wake, seen) = waits(&waiter, &lock, &second).await;
    let compact = async || {
        for _ in 0..100 {
            bed.put("/other", "").await;
        }
        let now = bed.admin.kv_client().get("/other", None).await.unwrap().header().unwrap().revision();
        let options = CompactionOptions::new().with_physical();
        bed.admin.kv_client().compact(now, Some(options)).await.unwrap();
    };
    // A watch that is there outlives it.
    let leave = async {
        eventually("a watch", || async { bed.watches().await == 3.0 }).await;
        compact().await;
        holder.remove(&lock, &first.id).await.unwrap();
    };
    within("the departure", async { tokio::join!(waiter.watch(&lock, &second.id, &wake, seen), leave).0 })
        .await
        .unwrap();
    // One that would have to begin before it is refused, which is a reason to look.
    compact().await;
    within("a refused watch", waiter.watch(&lock, &second.id, std::slice::from_ref(&second.id), seen))
        .await
        .unwrap();
    assert_eq!(waiter.look(&lock, &second.id).await.unwrap(), Standing::Holds);
    // One that begins with a look is not refused.
    let later = waiter.watch(&lock, &second.id, std::slice::from_ref(&second.id), Revision(0));
    tokio::select! {
        _ = later => panic!("the entry has not left"),
        () = eventually("a watch", || async { bed.watches().await == 3.0 }) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_wakes_all() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let options =
        EtcdOptions::new([proxy.address().to_string()]).with_session_timeout(Duration::from_secs(30));
    let (session, lock, [first, second]) = (open(options).await, lock("a"), [exclusive(), exclusive()]);
    enqueue(&session, &lock, &first).await;
    let (wake, seen) = waits(&session, &lock, &second).await;
    for broken in [true, false] {
        let lost = AtomicBool::new(false);
        let outage = async {
            eventually("a watch", || async { bed.watches().await == 2.0 }).await;
            lost.store(true, Ordering::SeqCst);
            if broken { proxy.cut() } else { proxy.mute() }
        };
        let woken = async {
            while !lost.load(Ordering::SeqCst) {
                // The next stream wakes, too.
                session.watch(&lock, &second.id, &wake, seen).await.unwrap();
            }
        };
        within("a spurious wake-up", async { tokio::join!(woken, outage) }).await;
        proxy.heal();
        eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    }
    let leave = repeat("removal", || session.remove(&lock, &first.id));
    tokio::join!(hold(&session, &lock, &second, Standing::Waits { wake: wake.clone(), seen }), leave);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_and_nothing_needs_cleaning() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    assert_eq!(session.names().await.unwrap(), []);
    let mut locks = vec![key(Family::Semaphore, "a")];
    locks.extend([".", "..", "a/b", "a", "日本", "%", " ", "\0\r\n"].map(lock));
    for lock in &locks {
        let kind = match lock.family {
            Family::Lock => EntryKind::Exclusive,
            Family::Semaphore => EntryKind::Permits { permits: 1, limit: 1 },
        };
        assert_eq!(enqueue(&session, lock, &entry(kind)).await.standing, Standing::Holds, "{lock:?}");
    }
    let mut names = session.names().await.unwrap();
    names.sort();
    locks.sort();
    assert_eq!(names, locks);
    session.close().await.unwrap();
    assert!(bed.under("/fairlock/").await.is_empty());
    assert_eq!(session.names().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(session.lease().loss(), Some(Loss::Closed));
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_outside_the_root_is_too_many() {
    let bed = Bed::new().await;
    let session = open(bed.options().with_root("/deep/down").unwrap()).await;
    enqueue(&session, &lock("a"), &exclusive()).await;
    let all = bed.under("/").await;
    assert!(all.len() > 1 && all.iter().all(|key| key.key().starts_with(b"/deep/down/")), "{all:?}");
}
