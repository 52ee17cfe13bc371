//! Who is told of a departure, what that costs, and how it goes on when nobody is told, against a real server.

use futures::future::join_all;
use lockcore::queue::Standing;
use lockcore::{Entry, EntryKind, Family, LockKey, Removed, Revision};

use crate::bed::{Bed, Session, enqueue, entry, eventually, exclusive, hold, key, lock, waits, wake, within};

/// One entry of this kind in each of so many sessions, in this order, and what their owners know.
async fn line(bed: &Bed, lock: &LockKey, kinds: &[EntryKind]) -> Vec<Waiter> {
    let mut line = Vec::new();
    for kind in kinds {
        let (session, entry) = (bed.session().await, entry(*kind));
        let standing = enqueue(&session, lock, &entry).await.standing;
        line.push(Waiter { session, lock: lock.clone(), entry, standing });
    }
    line
}

struct Waiter {
    session: Session,
    lock: LockKey,
    entry: Entry,
    standing: Standing,
}

impl Waiter {
    /// Waits until it is told that it holds. Its watch may return before that, on a machine that is busy.
    async fn told(&self) {
        let Standing::Waits { wake, seen } = &self.standing else { panic!("{:?}", self.standing) };
        let told = async {
            while self.session.watch(&self.lock, &self.entry.id, wake, *seen).await.unwrap().is_none() {}
        };
        within("it is told", told).await;
    }

    async fn leave(&self) {
        assert_eq!(self.session.remove(&self.lock, &self.entry.id).await.unwrap(), Removed::Now);
    }

    async fn hold(&self) {
        hold(&self.session, &self.lock, &self.entry, self.standing.clone()).await;
    }
}

/// Whoever was told that it holds knows who comes next, and needs one request to remove its entry and to tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_one_write() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let line = line(&bed, &lock, &[EntryKind::Exclusive; 9]).await;
    let (first, rest) = line.split_first().unwrap();
    // Whoever has never been told anything has no inbox.
    for waiter in rest {
        bed.put(&bed.inbox(&waiter.entry.id).await, "nonsense").await;
    }
    first.leave().await;
    rest[0].told().await;
    let writes = bed.writes().await;
    for pair in rest.windows(2) {
        pair[0].leave().await;
        pair[1].told().await;
    }
    assert_eq!(bed.writes().await - writes, 7.0);
    // Those of the inboxes: nobody needed another.
    assert_eq!(bed.watches().await, 9.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_tells_the_session_of_the_next_and_nobody_else() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let line = line(&bed, &lock, &[EntryKind::Exclusive; 3]).await;
    let next = bed.find(&line[1].entry.id).await.unwrap();
    let behind = bed.find(&line[2].entry.id).await.unwrap();
    line[0].leave().await;
    eventually("a message", || async { !bed.under("/fairlock/inbox/").await.is_empty() }).await;
    let messages = bed.under("/fairlock/inbox/").await;
    assert_eq!(messages.len(), 1);
    let inbox = bed.inbox(&line[1].entry.id).await;
    assert_eq!((messages[0].lease(), messages[0].key_str().unwrap()), (next.lease(), &*inbox));
    let slot = behind.key_str().unwrap().rsplit_once('/').unwrap().1;
    let (created, later) = (next.create_revision(), behind.create_revision() - next.create_revision());
    assert_eq!(messages[0].value_str().unwrap(), format!("{created} {slot}+{later}"));
    line[1].session.close().await.unwrap();
    assert!(bed.under("/fairlock/inbox/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_message_about_an_entry_tells_its_waiter_anything() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let line = line(&bed, &lock, &[EntryKind::Exclusive; 2]).await;
    let inbox = bed.inbox(&line[1].entry.id).await;
    let [ahead, own] = [&line[0], &line[1]].map(|waiter| bed.find(&waiter.entry.id));
    let [ahead, own] = [ahead.await.unwrap(), own.await.unwrap()].map(|key| key.create_revision());
    let messages = async {
        for text in ["garbage".to_owned(), ahead.to_string(), (own + 1).to_string()] {
            bed.put(&inbox, &text).await;
        }
        eventually("a watch", || async { bed.watches().await == 3.0 }).await;
    };
    tokio::select! {
        () = line[1].told() => panic!("nobody said that it holds"),
        () = messages => {}
    }
    bed.put(&inbox, &own.to_string()).await;
    line[1].told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_to_be_next_and_has_left_is_passed_over() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let line = line(&bed, &lock, &[EntryKind::Exclusive; 6]).await;
    line[0].leave().await;
    line[1].told().await;
    // By its owner, by hand, and with its session.
    line[2].leave().await;
    bed.delete(bed.find(&line[3].entry.id).await.unwrap().key_str().unwrap()).await;
    line[4].session.close().await.unwrap();
    line[1].leave().await;
    line[5].told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_one_session_are_told_without_a_write() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let session = bed.session().await;
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(4).collect();
    enqueue(&session, &lock, &entries[0]).await;
    for pair in entries.windows(2) {
        let (wake, seen) = waits(&session, &lock, &pair[1]).await;
        session.remove(&lock, &pair[0].id).await.unwrap();
        let news = within("news", session.watch(&lock, &pair[1].id, &wake, seen)).await.unwrap();
        assert_eq!(news, Some(Standing::Holds));
    }
    assert!(bed.under("/fairlock/inbox/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_whom_a_departure_lets_in_are_told() {
    let bed = Bed::new().await;
    let permits = |permits| EntryKind::Permits { permits, limit: 20 };
    for (family, first, rest, next) in [
        (Family::Lock, EntryKind::Exclusive, EntryKind::Shared, EntryKind::Exclusive),
        (Family::Semaphore, permits(20), permits(1), permits(20)),
    ] {
        let lock = key(family, "a");
        let mut kinds = vec![first];
        kinds.extend([rest; 12]);
        kinds.push(next);
        let line = line(&bed, &lock, &kinds).await;
        line[0].leave().await;
        for waiter in &line[1..13] {
            waiter.told().await;
        }
        // The last of them lets in the next, and no other does.
        for waiter in &line[1..12] {
            waiter.leave().await;
        }
        assert_eq!(wake(&line[13].session, &lock, &line[13].entry).await.len(), 1);
        line[12].leave().await;
        line[13].told().await;
        join_all(line.iter().map(|waiter| waiter.session.close())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_limits_differ_nobody_is_told_that_it_holds() {
    let (bed, semaphore) = (Bed::new().await, key(Family::Semaphore, "a"));
    let kinds = [(3, 3), (1, 3), (1, 4)].map(|(permits, limit)| EntryKind::Permits { permits, limit });
    let line = line(&bed, &semaphore, &kinds).await;
    assert_eq!(line[2].standing, Standing::LimitMismatch { theirs: 3 });
    line[0].leave().await;
    line[1].hold().await;
    assert!(bed.under("/fairlock/inbox/").await.is_empty());
}

/// Nobody is told when an entry is deleted by hand, or by a process that dies before it tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_departure_that_nobody_tells_of_is_noticed() {
    let bed = Bed::new().await;
    let permits = EntryKind::Permits { permits: 1, limit: 2 };
    for (family, kind, holders, waiters) in [
        (Family::Lock, EntryKind::Exclusive, 1, 1),
        (Family::Lock, EntryKind::Exclusive, 1, 12),
        (Family::Semaphore, permits, 2, 12),
    ] {
        let lock = key(family, "a");
        let line = line(&bed, &lock, &vec![kind; holders + waiters]).await;
        for pair in line.windows(holders + 1) {
            let (gone, waiter) = (&pair[0], &pair[holders]);
            let deleted = async {
                bed.delete(bed.find(&gone.entry.id).await.unwrap().key_str().unwrap()).await;
            };
            tokio::join!(deleted, waiter.hold());
        }
        assert!(bed.under("/fairlock/inbox/").await.is_empty());
        join_all(line.iter().map(|waiter| waiter.session.close())).await;
    }
}

/// How many bytes the server sends to append one more behind so many, and to ask where it stands.
async fn cost(bed: &Bed, kind: EntryKind, length: usize) -> f64 {
    let lock = key(kind.family(), &format!("{}-{length}", kind.encode()));
    let (session, last) = (bed.session().await, entry(kind));
    if kind == EntryKind::Shared {
        // It waits.
        enqueue(&session, &lock, &exclusive()).await;
    }
    join_all((0..length).map(async |_| enqueue(&session, &lock, &entry(kind)).await)).await;
    let before = bed.sent().await;
    enqueue(&session, &lock, &last).await;
    session.look(&lock, &last.id).await.unwrap();
    bed.sent().await - before
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_entry_reads_does_not_grow_with_the_queue() {
    let bed = Bed::new().await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 3 }] {
        let (short, long) = (cost(&bed, kind, 10).await, cost(&bed, kind, 300).await);
        assert!(long < short * 1.3, "{kind}: {short} {long}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_set_again_hears_messages_as_well() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let line = line(&bed, &lock, &[EntryKind::Exclusive; 2]).await;
    let Standing::Waits { wake, .. } = &line[1].standing else { panic!() };
    let ids = [wake[0].clone(), line[1].entry.id.clone()];
    let watch = line[1].session.watch(&lock, &line[1].entry.id, &ids, Revision(0));
    let leave = async {
        eventually("a watch", || async { bed.watches().await == 4.0 }).await;
        line[0].leave().await;
    };
    let (news, ()) = within("news", async { tokio::join!(watch, leave) }).await;
    assert!(matches!(news.unwrap(), None | Some(Standing::Holds)));
    line[1].hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_woken_when_the_head_leaves_and_not_before() {
    let (bed, lock) = (Bed::new().await, lock("a"));
    let (owner, observer) = (bed.session().await, bed.session().await);
    let [first, second] = [exclusive(), exclusive()];
    enqueue(&owner, &lock, &first).await;
    enqueue(&owner, &lock, &second).await;
    let head = observer.describe(&lock).await.unwrap().remove(0).id;
    let mut changed = std::pin::pin!(observer.head_changed(&lock, Some(&head)));
    let longer_than_others_look_again = std::time::Duration::from_secs(3);
    assert!(tokio::time::timeout(longer_than_others_look_again, &mut changed).await.is_err());
    owner.remove(&lock, &first.id).await.unwrap();
    within("it is woken", changed).await.unwrap();
    // It leads no more, so that is told at once.
    within("it is told", observer.head_changed(&lock, Some(&head))).await.unwrap();
}
