//! Whether an entry of ours is known to be there when the last one ahead of it leaves.

use std::future::Future;

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, Removed, Revision};

use crate::bed::{
    Bed, DIRECTORY, EPHEMERAL, PERSISTENT, Session, doubts, enqueue, eventually, exclusive, lock, sees_go,
    start_anew, through, waits_for, within,
};

/// Makes an entry wait for one of somebody else, until both are watched, and says what the watch tells after `meanwhile`.
async fn is_told(
    bed: &Bed,
    session: &Session,
    waiter: &Entry,
    meanwhile: impl Future<Output = ()> + Send,
) -> Option<Standing> {
    let lock = lock("a");
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    bed.admin.create(&format!("{DIRECTORY}/ex"), b"", &EPHEMERAL).await.unwrap();
    waits_for(session, &lock, waiter, "ex0000000000").await;
    let ids = [EntryId::from("ex0000000000")];
    let watch = session.watch(&lock, &waiter.id, &ids, Revision(0));
    let meanwhile = async {
        eventually("both watches", || async { bed.watches().await == 2 }).await;
        meanwhile.await;
    };
    within("the watch fires", async { tokio::join!(watch, meanwhile).0.unwrap() }).await
}

/// Removes these nodes in this order, in one transaction, of which a server tells at once.
async fn remove_together(bed: &Bed, nodes: [&str; 2]) {
    let mut transaction = bed.admin.new_multi_writer();
    for node in nodes {
        transaction.add_delete(&format!("{DIRECTORY}/{node}"), None).unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_removed_before_the_last_one_ahead_is_not_told_that_it_holds() {
    let bed = Bed::new().await;
    let (session, waiter) = (bed.session().await, exclusive());
    let removed = remove_together(&bed, ["ex0000000001", "ex0000000000"]);
    assert_eq!(is_told(&bed, &session, &waiter, removed).await, None);
    assert_eq!(session.look(&lock("a"), &waiter.id).await.unwrap(), Standing::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_removed_while_there_was_no_connection_is_not_told_that_it_holds() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, waiter) = (through(&proxy).await, exclusive());
    let meanwhile = async {
        proxy.cut();
        doubts(&session).await;
        remove_together(&bed, ["ex0000000001", "ex0000000000"]).await;
        proxy.heal();
    };
    assert_eq!(is_told(&bed, &session, &waiter, meanwhile).await, None);
    assert_eq!(session.look(&lock("a"), &waiter.id).await.unwrap(), Standing::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_changed_is_looked_at_when_the_last_one_ahead_has_left() {
    let bed = Bed::new().await;
    let (session, waiter) = (bed.session().await, exclusive());
    let changed = async {
        bed.admin.set_data(&format!("{DIRECTORY}/ex0000000001"), b"", None).await.unwrap();
        bed.admin.delete(&format!("{DIRECTORY}/ex0000000000"), None).await.unwrap();
    };
    assert_eq!(is_told(&bed, &session, &waiter, changed).await, None);
    assert_eq!(session.look(&lock("a"), &waiter.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_between_two_takes_five_requests_and_leaves_no_watch() {
    const TURNS: u32 = 100;
    let bed = Bed::new().await;
    let (sessions, lock) = ([bed.session().await, bed.session().await], lock("a"));
    let mut holder = exclusive();
    assert_eq!(enqueue(&sessions[0], &lock, &holder).await.standing, Standing::Holds);
    let before = bed.requests().await;
    for turn in 1..=TURNS {
        let [session, leaver] = [turn, turn - 1].map(|turn| &sessions[turn as usize % 2]);
        let next = exclusive();
        let ahead = format!("ex{:010}", turn - 1);
        let seen = waits_for(session, &lock, &next, &ahead).await;
        let ids = [EntryId::from(&*ahead)];
        let watch = session.watch(&lock, &next.id, &ids, seen);
        let (told, removed) =
            within("a turn", async { tokio::join!(watch, leaver.remove(&lock, &holder.id)) }).await;
        assert_eq!(removed.unwrap(), Removed::Now);
        if told.unwrap().is_none() {
            assert_eq!(session.look(&lock, &next.id).await.unwrap(), Standing::Holds);
        }
        holder = next;
    }
    let requests = bed.requests().await - before;
    // Sessions are renewed meanwhile, and the server is asked for the count.
    assert!(requests < 5 * TURNS + 50, "{requests} requests for {TURNS} turns");
    sessions[TURNS as usize % 2].remove(&lock, &holder.id).await.unwrap();
    eventually("no watch", || async { bed.watches().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_waiting_is_not_looked_for() {
    const TIMES: u32 = 100;
    let bed = Bed::new().await;
    let (session, other, lock) = (bed.session().await, bed.session().await, lock("a"));
    enqueue(&other, &lock, &exclusive()).await;
    let before = bed.requests().await;
    for _ in 0..TIMES {
        let (waiter, ids) = (exclusive(), [EntryId::from("ex0000000000")]);
        let seen = waits_for(&session, &lock, &waiter, "ex0000000000").await;
        tokio::select! {
            biased;
            fired = session.watch(&lock, &waiter.id, &ids, seen) => panic!("no entry has left: {fired:?}"),
            // It is answered after both watches.
            listed = session.list(&lock) => drop(listed.unwrap()),
        }
        assert_eq!(session.remove(&lock, &waiter.id).await.unwrap(), Removed::Now);
    }
    let requests = bed.requests().await - before;
    // Made, listed, watched twice, listed with looks at two, removed, not watched any more.
    assert!(requests < 9 * TIMES + 50, "{requests} requests for {TIMES} waits");
    eventually("no watch", || async { bed.watches().await == 0 }).await;
}

/// An operator removes a directory with all that is in it, and others come and get the same names.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_lost_its_name_to_another_is_not_told_that_it_holds() {
    let bed = Bed::new().await;
    let (session, others, lock, waiter) = (bed.session().await, bed.session().await, lock("a"), exclusive());
    enqueue(&others, &lock, &exclusive()).await;
    waits_for(&session, &lock, &waiter, "ex0000000000").await;
    start_anew(&bed).await;
    for _ in 0..2 {
        enqueue(&others, &lock, &exclusive()).await;
    }
    assert_eq!(sees_go(&bed, &session, &lock, &waiter.id, "ex0000000000").await, None);
    assert_eq!(session.look(&lock, &waiter.id).await.unwrap(), Standing::Absent);
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
