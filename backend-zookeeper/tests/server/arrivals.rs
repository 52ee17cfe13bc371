//! What is asked of the server when entries come and go, and names that are used again.

use futures::future::join_all;
use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, Family, LockKey, Removed, Revision};
use zookeeper_client::{Acl, AuthId, CreateMode, Permission};

use crate::bed::{
    Bed, DIRECTORY, EPHEMERAL, OPEN, PERSISTENT, Session, doubts, enqueue, entry, eventually, exclusive, key,
    lives, lock, sees_go, start_anew, through, waits_for, within,
};

/// From now on nobody can list the queue.
async fn hide_the_queue(bed: &Bed) {
    let acl = [Acl::new(Permission::CREATE | Permission::DELETE, AuthId::anyone())];
    bed.admin.set_acl(DIRECTORY, &acl, None).await.unwrap();
}

/// Puts three exclusive entries into the queue.
async fn crowd(session: &Session, lock: &LockKey) -> [Entry; 3] {
    let entries = [exclusive(), exclusive(), exclusive()];
    for entry in &entries {
        enqueue(session, lock, entry).await;
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_crowded_lock_an_exclusive_entry_reads_no_list() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    crowd(&session, &lock).await;
    hide_the_queue(&bed).await;
    let last = exclusive();
    let seen = waits_for(&session, &lock, &last, "ex0000000002").await;
    assert_eq!(bed.watches().await, 1, "who was seen ahead is watched already");
    let ids = [EntryId::from("ex0000000002")];
    let meanwhile = async {
        // It is answered after whatever was asked before.
        session.names().await.unwrap();
        bed.watches().await
    };
    let watches = tokio::select! {
        biased;
        fired = session.watch(&lock, &last.id, &ids, seen) => panic!("no entry has left: {fired:?}"),
        watches = meanwhile => watches,
    };
    assert_eq!(watches, 1, "its own is of no use to whoever has to read the list");
    assert_eq!(session.remove(&lock, &last.id).await.unwrap(), Removed::Now);
    eventually("no watch", || async { bed.watches().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_directly_ahead_at_a_crowded_lock_is_judged_by_the_rule() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let mut number = 0;
    // What stands directly ahead of the last entry, and whom that waits for when all before are gone.
    for (path, options, ahead) in [
        ("sh", EPHEMERAL, Some("sh")),
        ("ex", EPHEMERAL, Some("ex")),
        ("ex", CreateMode::PersistentSequential.with_acls(OPEN), None),
        ("zzz", PERSISTENT, None),
    ] {
        let (before, last) = (crowd(&session, &lock).await, exclusive());
        bed.admin.create(&format!("{DIRECTORY}/{path}"), b"", &options).await.unwrap();
        for entry in &before {
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
        let name = ahead.map(|kind| format!("{kind}{:010}", number + 3));
        match &name {
            Some(name) => drop(waits_for(&session, &lock, &last, name).await),
            None => loop {
                match session.enqueue(&lock, &last).await.unwrap().standing {
                    Standing::Holds => break,
                    Standing::Waits { wake, seen } => drop(session.watch(&lock, &last.id, &wake, seen).await),
                    other => panic!("{other:?}"),
                }
            },
        }
        session.remove(&lock, &last.id).await.unwrap();
        for left in bed.children(DIRECTORY).await {
            bed.admin.delete(&format!("{DIRECTORY}/{left}"), None).await.unwrap();
        }
        number += 5;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_one_alone_reads_no_list_when_that_has_left() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    bed.admin.create(&format!("{DIRECTORY}/ex"), b"", &EPHEMERAL).await.unwrap();
    let readers = [entry(EntryKind::Shared), entry(EntryKind::Shared)];
    for reader in &readers {
        waits_for(&session, &lock, reader, "ex0000000000").await;
    }
    hide_the_queue(&bed).await;
    let told = sees_go(&bed, &session, &lock, &readers[1].id, "ex0000000000").await;
    assert_eq!(told, Some(Standing::Holds));
    assert_eq!(session.look(&lock, &readers[1].id).await.unwrap(), Standing::Holds);
    // Whoever holds is asked for alone as well.
    assert_eq!(session.look(&lock, &readers[1].id).await.unwrap(), Standing::Holds);
    bed.admin.delete(&format!("{DIRECTORY}/sh0000000002"), None).await.unwrap();
    assert_eq!(session.look(&lock, &readers[1].id).await.unwrap(), Standing::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_the_entries_of_one_session_an_exclusive_lock_is_handed_over_without_a_list() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(5).collect();
    enqueue(&session, &lock, &entries[0]).await;
    for (number, waiter) in entries[1..].iter().enumerate() {
        waits_for(&session, &lock, waiter, &format!("ex{number:010}")).await;
    }
    // Whom a waiter leaves behind cannot know without the list.
    assert_eq!(session.remove(&lock, &entries[1].id).await.unwrap(), Removed::Now);
    let gone = [EntryId::from("ex0000000001")];
    assert_eq!(session.watch(&lock, &entries[2].id, &gone, Revision(0)).await.unwrap(), None);
    waits_for(&session, &lock, &entries[2], "ex0000000000").await;
    hide_the_queue(&bed).await;
    for (number, pair) in [(0, [0, 2]), (2, [2, 3]), (3, [3, 4])] {
        let [left, next] = pair.map(|position| &entries[position].id);
        assert_eq!(session.remove(&lock, left).await.unwrap(), Removed::Now);
        let gone = [EntryId::from(&*format!("ex{number:010}"))];
        session.watch(&lock, next, &gone, Revision(0)).await.unwrap();
        assert_eq!(session.look(&lock, next).await.unwrap(), Standing::Holds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_one_of_several_holders_leave_goes_on_waiting() {
    let bed = Bed::new().await;
    let (session, semaphore) = (bed.session().await, key(Family::Semaphore, "a"));
    let [one, two, both] = [1, 1, 2].map(|permits| entry(EntryKind::Permits { permits, limit: 2 }));
    for holder in [&one, &two] {
        assert_eq!(session.enqueue(&semaphore, holder).await.unwrap().standing, Standing::Holds);
    }
    let seen = waits_for(&session, &semaphore, &both, "sem-1-2-0000000001").await;
    let ids = [EntryId::from("sem-1-2-0000000001")];
    let watch = session.watch(&semaphore, &both.id, &ids, seen);
    let leave = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        session.remove(&semaphore, &two.id).await.unwrap();
    };
    within("the watch fires", async { tokio::join!(watch, leave).0.unwrap() }).await;
    waits_for(&session, &semaphore, &both, "sem-1-2-0000000000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_a_waiter_leave_goes_on_waiting() {
    let bed = Bed::new().await;
    let (session, lock, last) = (bed.session().await, lock("a"), exclusive());
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    for _ in 0..2 {
        bed.admin.create(&format!("{DIRECTORY}/ex"), b"", &EPHEMERAL).await.unwrap();
    }
    waits_for(&session, &lock, &last, "ex0000000001").await;
    sees_go(&bed, &session, &lock, &last.id, "ex0000000001").await;
    waits_for(&session, &lock, &last, "ex0000000000").await;
    sees_go(&bed, &session, &lock, &last.id, "ex0000000000").await;
    assert_eq!(session.look(&lock, &last.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_looks_at_those_only_on_whom_it_depends() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    let stray = CreateMode::PersistentSequential.with_acls(OPEN);
    for kind in ["ex", "sh", "ex", "ex"] {
        bed.admin.create(&format!("{DIRECTORY}/{kind}"), b"", &stray).await.unwrap();
    }
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(100).collect();
    join_all(entries.iter().map(|entry| enqueue(&session, &lock, entry))).await;
    let before = bed.requests().await;
    let listed = bed.session().await.list(&lock).await.unwrap().entries;
    let requests = bed.requests().await - before;
    assert!(requests < 50, "{requests} requests to list {} entries", entries.len());
    let names = (4..104).map(|number| EntryId::from(&*format!("ex{number:010}")));
    assert_eq!(listed.into_iter().map(|entry| entry.id).collect::<Vec<_>>(), names.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_not_led_astray_by_the_first_that_seems_to_wait() {
    let bed = Bed::new().await;
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    let stray = CreateMode::PersistentSequential.with_acls(OPEN);
    for (kind, options) in [("sh", &EPHEMERAL), ("ex", &stray), ("sh", &EPHEMERAL)] {
        bed.admin.create(&format!("{DIRECTORY}/{kind}"), b"", options).await.unwrap();
    }
    let listed = bed.session().await.list(&lock("a")).await.unwrap().entries;
    let names = ["sh0000000000", "sh0000000002"].map(EntryId::from);
    assert_eq!(listed.into_iter().map(|entry| entry.id).collect::<Vec<_>>(), names);
}

/// An operator removes a directory with all that is in it, and others come and get the same names.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_used_again_are_those_of_others() {
    let bed = Bed::new().await;
    let (session, others, lock) = (bed.session().await, bed.session().await, lock("a"));
    let (holder, waiter, leaver) = (exclusive(), exclusive(), exclusive());
    for entry in [&holder, &waiter, &leaver] {
        enqueue(&session, &lock, entry).await;
    }
    start_anew(&bed).await;
    let theirs = [exclusive(), exclusive(), exclusive()];
    for entry in &theirs {
        enqueue(&others, &lock, entry).await;
    }
    assert_eq!(bed.children(DIRECTORY).await.len(), 3);
    assert_eq!(session.remove(&lock, &leaver.id).await.unwrap(), Removed::Absent);
    for entry in [&holder, &waiter] {
        assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Absent);
        assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
    }
    assert_eq!(others.look(&lock, &theirs[0].id).await.unwrap(), Standing::Holds);
    assert_eq!(bed.children(DIRECTORY).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_gives_up_when_it_holds_touches_nobody_else() {
    let bed = Bed::new().await;
    let (session, others, lock, ours) = (bed.session().await, bed.session().await, lock("a"), exclusive());
    enqueue(&others, &lock, &exclusive()).await;
    waits_for(&session, &lock, &ours, "ex0000000000").await;
    sees_go(&bed, &session, &lock, &ours.id, "ex0000000000").await;
    start_anew(&bed).await;
    for _ in 0..2 {
        enqueue(&others, &lock, &exclusive()).await;
    }
    // An answer comes after all that was told before.
    session.list(&lock).await.unwrap();
    assert_eq!(session.remove(&lock, &ours.id).await.unwrap(), Removed::Absent);
    assert_eq!(bed.children(DIRECTORY).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_that_has_the_name_of_a_holder_of_ours_leaves_as_a_waiter() {
    let bed = Bed::new().await;
    let (session, others, lock) = (bed.session().await, bed.session().await, lock("a"));
    let ([first, second, _], ours) = (crowd(&session, &lock).await, exclusive());
    session.remove(&lock, &first.id).await.unwrap();
    assert_eq!(session.look(&lock, &second.id).await.unwrap(), Standing::Holds);
    start_anew(&bed).await;
    let theirs = [exclusive(), exclusive()];
    for entry in &theirs {
        enqueue(&others, &lock, entry).await;
    }
    waits_for(&session, &lock, &ours, "ex0000000001").await;
    others.remove(&lock, &theirs[1].id).await.unwrap();
    let gone = [EntryId::from("ex0000000001")];
    assert_eq!(session.watch(&lock, &ours.id, &gone, Revision(0)).await.unwrap(), None);
    let standing = session.look(&lock, &ours.id).await.unwrap();
    assert!(matches!(standing, Standing::Waits { .. }), "{standing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_repeated_touches_nobody_else() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, others, lock, entry) = (through(&proxy).await, bed.session().await, lock("a"), exclusive());
    enqueue(&session, &lock, &entry).await;
    proxy.mute();
    let unheard = async {
        eventually("no entry", || async { bed.children(DIRECTORY).await.is_empty() }).await;
        proxy.heal();
    };
    let (removed, ()) =
        within("the first attempt", async { tokio::join!(session.remove(&lock, &entry.id), unheard) }).await;
    assert!(removed.unwrap_err().is_retryable());
    start_anew(&bed).await;
    assert_eq!(enqueue(&others, &lock, &exclusive()).await.standing, Standing::Holds);
    lives(&session).await;
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
    assert_eq!(bed.children(DIRECTORY).await, ["ex0000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_unknown_outcome_is_found_under_a_name_that_another_of_ours_had() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    enqueue(&session, &lock, &exclusive()).await;
    start_anew(&bed).await;
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    proxy.mute();
    let unheard = async {
        eventually("an entry", || async { !bed.children(DIRECTORY).await.is_empty() }).await;
        proxy.heal();
    };
    let (made, ()) =
        within("the first attempt", async { tokio::join!(session.enqueue(&lock, &entry), unheard) }).await;
    assert!(made.unwrap_err().is_retryable());
    let token = enqueue(&session, &lock, &entry).await.token;
    assert_eq!(bed.children(DIRECTORY).await, ["ex0000000000"]);
    assert_eq!(token, bed.token(&format!("{DIRECTORY}/ex0000000000")).await);
    let listed = session.list(&lock).await.unwrap().entries;
    assert_eq!(listed.into_iter().map(|listed| listed.id).collect::<Vec<_>>(), [entry.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_name_another_has_got_meanwhile_is_told() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, others, lock, entry) = (through(&proxy).await, bed.session().await, lock("a"), exclusive());
    enqueue(&session, &lock, &entry).await;
    let ids = [entry.id.clone()];
    let watch = session.watch(&lock, &entry.id, &ids, Revision(0));
    let meanwhile = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        proxy.cut();
        doubts(&session).await;
        start_anew(&bed).await;
        enqueue(&others, &lock, &exclusive()).await;
        proxy.heal();
    };
    let told = within("the watch fires", async { tokio::join!(watch, meanwhile).0.unwrap() }).await;
    assert_eq!(told, Some(Standing::Absent));
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
    assert_eq!(bed.children(DIRECTORY).await, ["ex0000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_entries_of_unknown_outcome_are_looked_for_together() {
    const MANY: usize = 200;
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    bed.admin.mkdir(DIRECTORY, &PERSISTENT).await.unwrap();
    let (session, lock) = (through(&proxy).await, lock("a"));
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(MANY).collect();
    proxy.mute();
    let unheard = async {
        eventually("all entries", || async { bed.children(DIRECTORY).await.len() == MANY }).await;
        proxy.heal();
    };
    let attempts = join_all(entries.iter().map(|entry| session.enqueue(&lock, entry)));
    let (attempts, ()) = within("the attempts", async { tokio::join!(attempts, unheard) }).await;
    assert!(attempts.iter().all(Result::is_err));
    lives(&session).await;
    let before = bed.requests().await;
    let found = join_all(entries.iter().map(|entry| enqueue(&session, &lock, entry))).await;
    let requests = bed.requests().await - before;
    assert!(requests < 1000, "{requests} requests to find {MANY} entries");
    assert_eq!(found.iter().filter(|found| found.standing == Standing::Holds).count(), 1);
    assert_eq!(bed.children(DIRECTORY).await.len(), MANY);
}
