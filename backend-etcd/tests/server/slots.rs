//! Keys that are used again, and requests for an earlier user of a key that come late.

use std::collections::BTreeSet;

use etcd_client::{PutOptions, WatchOptions};
use futures::future::join_all;
use lockcore::queue::Standing;
use lockcore::{Entry, EntryKind, Family, Removed, Revision};

use crate::bed::{
    Bed, enqueue, entry, eventually, exclusive, key, late, lock, long, repeat, through, waits, within,
};

/// The names of all keys that there have ever been. Each of them is visited by whoever reads over it, until the
/// history is compacted.
async fn names(bed: &Bed) -> BTreeSet<String> {
    bed.put("/fairlock/~", "").await;
    let options = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut history = bed.admin.watch_client().watch("/fairlock/", Some(options)).await.unwrap();
    let mut names = BTreeSet::new();
    while !names.contains("/fairlock/~") {
        let answer = within("the history", history.message()).await.unwrap().unwrap();
        names.extend(answer.events().iter().map(|event| event.kv().unwrap().key_str().unwrap().to_owned()));
    }
    names.remove("/fairlock/~");
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn many_grants_and_many_sessions_use_the_same_names() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    for _ in 0..20 {
        let session = bed.session().await;
        for _ in 0..20 {
            let entry = exclusive();
            assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
        session.close().await.unwrap();
    }
    let expected = ["/fairlock/lock/a/ex-0-0", "/fairlock/session/0"];
    assert_eq!(names(&bed).await, expected.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_begin_together_have_different_numbers() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let sessions = join_all((0..30).map(|_| bed.session())).await;
    let keys = bed.under("/fairlock/session/").await;
    let leases: BTreeSet<i64> = keys.iter().map(etcd_client::KeyValue::lease).collect();
    assert_eq!((keys.len(), leases.len()), (30, 30));
    let entries =
        join_all(sessions.iter().map(async |session| enqueue(session, &lock, &exclusive()).await)).await;
    let tokens: BTreeSet<_> = entries.into_iter().map(|enqueued| enqueued.token).collect();
    assert_eq!((bed.entries().await.len(), tokens.len()), (30, 30));
}

/// How much more the last grants cost the server than the first.
/// `cargo test -p fairlock-backend-etcd --test server -- --ignored --nocapture hundred_thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and a machine that does nothing else"]
async fn a_hundred_thousand_grants_cost_the_last_what_the_first_cost() {
    const BLOCK: u32 = 4000;
    let (bed, lock) = (Bed::new().await, lock("a"));
    let session = bed.session().await;
    let mut costs = Vec::new();
    for _ in 0..25 {
        let before = bed.metric("process_cpu_seconds_total").await;
        for _ in 0..BLOCK {
            let entry = exclusive();
            assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
        costs.push((bed.metric("process_cpu_seconds_total").await - before) / f64::from(BLOCK) * 1e6);
        println!("{:.0} µs of the server for each grant", costs[costs.len() - 1]);
    }
    assert!(costs[24] <= costs[0] * 1.2, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_after_its_removal_leaves_nothing() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, removed, kept) = (through(&proxy).await, lock("a"), long(), long());
    late(&session, &proxy, removed.label.len(), session.enqueue(&lock, &removed)).await;
    assert_eq!(repeat("removal", || session.remove(&lock, &removed.id)).await, Removed::Absent);
    bed.deliver(&proxy).await;
    assert_eq!(bed.entries().await, Vec::<String>::new());
    // One that nobody removes shows that requests do arrive.
    late(&session, &proxy, kept.label.len(), session.enqueue(&lock, &kept)).await;
    bed.deliver(&proxy).await;
    let (wake, _) = waits(&session, &lock, &exclusive()).await;
    assert_eq!(wake, [bed.place(&kept.id).await]);
    assert_eq!(session.remove(&lock, &kept.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_arrives_late_does_not_touch_the_next_entry_in_the_slot() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    // A name that makes the removal large.
    let (session, lock) = (through(&proxy).await, lock(&"x".repeat(500)));
    let (first, next) = (exclusive(), exclusive());
    enqueue(&session, &lock, &first).await;
    let key = bed.entries().await;
    late(&session, &proxy, 500, session.remove(&lock, &first.id)).await;
    assert_eq!(repeat("removal", || session.remove(&lock, &first.id)).await, Removed::Now);
    assert_eq!(enqueue(&session, &lock, &next).await.standing, Standing::Holds);
    assert_eq!(bed.entries().await, key);
    bed.deliver(&proxy).await;
    assert_eq!(session.look(&lock, &next.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_made_at_the_second_attempt_does_not_come_back_by_the_first() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), long());
    late(&session, &proxy, entry.label.len(), session.enqueue(&lock, &entry)).await;
    assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
    bed.delete(&bed.entries().await[0]).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Absent);
    bed.deliver(&proxy).await;
    assert_eq!(bed.entries().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_do_not_make_other_attempts_fail() {
    let (bed, own) = (Bed::new().await, exclusive());
    let (session, lock) = (&bed.session().await, lock("mine"));
    let cancelling = join_all((0..8).map(async |number| {
        let lock = crate::bed::lock(&format!("cancelled {number}"));
        loop {
            let entry = exclusive();
            tokio::select! {
                biased;
                _ = session.enqueue(&lock, &entry) => {}
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
            session.remove(&lock, &entry.id).await.unwrap();
        }
    }));
    let trying = join_all((0..8).map(async |number| {
        let lock = crate::bed::lock(&format!("tried {number}"));
        for _ in 0..200 {
            let entry = exclusive();
            assert_eq!(session.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
    }));
    enqueue(session, &lock, &own).await;
    tokio::select! {
        _ = cancelling => {}
        _ = within("all attempts", trying) => {}
    }
    assert_eq!(session.look(&lock, &own.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_in_which_somebody_else_stands_is_left_to_him() {
    let (bed, lock, key) = (Bed::new().await, lock("a"), "/fairlock/lock/a/ex-0-0");
    for on_our_lease in [false, true] {
        let (session, entry) = (bed.session().await, exclusive());
        let ours = bed.under("/fairlock/session/0").await[0].lease();
        let put = PutOptions::new().with_lease(if on_our_lease { ours } else { 0 });
        bed.admin.kv_client().put(key, "foreign", Some(put)).await.unwrap();
        let (wake, seen) = waits(&session, &lock, &entry).await;
        let gone = async {
            eventually("a watch", || async { bed.watches().await == 2.0 }).await;
            bed.delete(key).await;
        };
        within("the departure", async { tokio::join!(session.watch(&lock, &entry.id, &wake, seen), gone).0 })
            .await
            .unwrap();
        assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
        assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_an_earlier_session_with_the_same_number_is_not_adopted() {
    let (bed, lock, entry) = (Bed::new().await, lock("a"), exclusive());
    let earlier = bed.session().await;
    let token = enqueue(&earlier, &lock, &entry).await.token;
    bed.delete("/fairlock/session/0").await;
    let session = bed.session().await;
    assert_eq!(bed.under("/fairlock/session/").await[0].key_str().unwrap(), "/fairlock/session/0");
    assert!(enqueue(&session, &lock, &entry).await.token > token);
    assert_eq!(bed.entries().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_is_seen_although_another_entry_is_in_the_slot_and_watched() {
    let (bed, lock, [first, next, own]) =
        (Bed::new().await, lock("a"), [exclusive(), exclusive(), exclusive()]);
    let (holder, waiter) = (bed.session().await, bed.session().await);
    let seen = Revision(enqueue(&holder, &lock, &first).await.token.get());
    let left = [bed.place(&first.id).await];
    holder.remove(&lock, &first.id).await.unwrap();
    enqueue(&holder, &lock, &next).await;
    let (wake, since) = waits(&waiter, &lock, &own).await;
    assert_eq!(wake[0].as_str().split_once('@').unwrap().0, left[0].as_str().split_once('@').unwrap().0);
    let watching = waiter.watch(&lock, &own.id, &wake, since);
    let both = async {
        eventually("a watch", || async { bed.watches().await == 3.0 }).await;
        within("the departure", waiter.watch(&lock, &own.id, &left, seen)).await.unwrap();
    };
    tokio::select! {
        _ = watching => panic!("the next entry has not left"),
        () = both => {}
    }
    // Nor is one that has left taken for the one that came after it.
    within("the departure", waiter.watch(&lock, &own.id, &left, Revision(0))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_stands_as_it_stood_is_looked_at_without_reading_the_queue() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let session = bed.session().await;
    let shared = || entry(EntryKind::Shared);
    let (holder, last, [first, second]) = (exclusive(), shared(), [shared(), shared()]);
    for entry in [&holder, &first, &second] {
        enqueue(&session, &lock, entry).await;
    }
    for _ in 0..300 {
        enqueue(&session, &lock, &shared()).await;
    }
    let (wake, seen) = waits(&session, &lock, &last).await;
    let sent = async || bed.metric("etcd_network_client_grpc_sent_bytes_total").await;
    let start = sent().await;
    assert_eq!(session.list(&lock).await.unwrap().entries.len(), 304);
    let read = sent().await;
    for _ in 0..5 {
        let standing = session.look(&lock, &last.id).await.unwrap();
        assert!(
            matches!(standing, Standing::Waits { wake: again, seen: later } if again == wake && later >= seen)
        );
        let watch = session.watch(&lock, &last.id, &wake, Revision(0));
        tokio::select! {
            _ = watch => panic!("the holder has not left"),
            () = eventually("a watch", || async { bed.watches().await == 2.0 }) => {}
        }
        eventually("no watch", || async { bed.watches().await == 1.0 }).await;
    }
    assert!(sent().await - read < (read - start) / 2.0);
    // What matters is noticed, and only that.
    session.remove(&lock, &first.id).await.unwrap();
    assert!(matches!(session.look(&lock, &last.id).await.unwrap(), Standing::Waits { .. }));
    session.remove(&lock, &holder.id).await.unwrap();
    for entry in [&last, &second] {
        assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    }
    bed.delete(bed.find(&last.id).await.unwrap().key_str().unwrap()).await;
    assert_eq!(session.look(&lock, &last.id).await.unwrap(), Standing::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_may_wait_for_more_entries_than_a_transaction_compares() {
    let (bed, semaphore) = (Bed::new().await, key(Family::Semaphore, "a"));
    let session = bed.session().await;
    let permit = || entry(EntryKind::Permits { permits: 1, limit: 150 });
    let (holders, last): (Vec<Entry>, Entry) = ((0..150).map(|_| permit()).collect(), permit());
    join_all(holders.iter().map(async |holder| enqueue(&session, &semaphore, holder).await)).await;
    let (wake, seen) = waits(&session, &semaphore, &last).await;
    assert_eq!(wake.len(), 150);
    for since in [seen, Revision(0)] {
        let watch = session.watch(&semaphore, &last.id, &wake, since);
        tokio::select! {
            _ = watch => panic!("nobody has left"),
            () = eventually("the watches", || async { bed.watches().await == 151.0 }) => {}
        }
        eventually("no watch", || async { bed.watches().await == 1.0 }).await;
        assert!(matches!(session.look(&semaphore, &last.id).await.unwrap(), Standing::Waits { .. }));
    }
    session.remove(&semaphore, &holders[140].id).await.unwrap();
    within("the departure", session.watch(&semaphore, &last.id, &wake, Revision(0))).await.unwrap();
    assert_eq!(session.look(&semaphore, &last.id).await.unwrap(), Standing::Holds);
}
