//! Where entries lie, and what else may lie there.

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, Family, FencingToken, Removed};
use zookeeper_client::{CreateMode, Error as ClientError};

use crate::bed::{
    Bed, EPHEMERAL, OPEN, PERSISTENT, Session, enqueue, entry, eventually, exclusive, key, lock, open, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_in_the_directory_are_ignored_and_left_alone() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let strangers = ["lock-abc", "x-0000000000", "zzz", "é", "日本語0000000000"];
    for stranger in strangers {
        bed.admin.create(&format!("/_zklocking/a/{stranger}"), b"", &PERSISTENT).await.unwrap();
    }
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
    assert_eq!(session.list(&lock).await.unwrap().entries.len(), 1);
    assert_eq!(session.describe(&lock).await.unwrap().len(), 1);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    assert_eq!(session.cleanup().await.unwrap(), 0);
    let mut left = bed.children("/_zklocking/a").await;
    left.sort();
    assert_eq!(left, strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_the_gem_block_ours() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/g", &PERSISTENT).await.unwrap();
    bed.admin.create("/_zklocking/g/ex", b"", &EPHEMERAL).await.unwrap();
    let (session, lock, entry) = (bed.session().await, lock("g"), exclusive());
    let enqueued = session.enqueue(&lock, &entry).await.unwrap();
    let Standing::Waits { wake, seen } = enqueued.standing else { panic!("{enqueued:?}") };
    assert_eq!(wake, [EntryId::from("ex0000000000")]);
    bed.admin.create("/_zklocking/g/sh", b"", &EPHEMERAL).await.unwrap();
    let watch = session.watch(&lock, &entry.id, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await > 0 }).await;
        bed.admin.delete("/_zklocking/g/ex0000000000", None).await.unwrap();
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    // What the gem goes by: the first letters and the digits at the end.
    let mut children = bed.children("/_zklocking/g").await;
    children.sort();
    assert_eq!(children, ["ex0000000001", "sh0000000002"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn semaphore_entries_of_the_gem_take_permits() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zksemaphore/g", &PERSISTENT).await.unwrap();
    for _ in 0..2 {
        bed.admin.create("/_zksemaphore/g/sem", b"", &EPHEMERAL).await.unwrap();
    }
    let (session, semaphore) = (bed.session().await, key(Family::Semaphore, "g"));
    let third = entry(EntryKind::Permits { permits: 1, limit: 3 });
    assert_eq!(session.enqueue(&semaphore, &third).await.unwrap().standing, Standing::Holds);
    let fourth = entry(EntryKind::Permits { permits: 1, limit: 3 });
    let enqueued = session.enqueue(&semaphore, &fourth).await.unwrap();
    let Standing::Waits { wake, .. } = enqueued.standing else { panic!("{enqueued:?}") };
    assert_eq!(wake, ["sem-1-3-0000000002", "sem0000000001", "sem0000000000"].map(EntryId::from));
    let described = session.describe(&semaphore).await.unwrap();
    assert_eq!(described.into_iter().map(|entry| entry.kind).collect::<Vec<_>>(), [third.kind; 4]);
    bed.admin.delete("/_zksemaphore/g/sem0000000001", None).await.unwrap();
    assert_eq!(session.look(&semaphore, &fourth.id).await.unwrap(), Standing::Holds);
}

/// What an operator left, or somebody who takes the directory for their own.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_session_holds_is_no_entry_and_turns_no_order_round() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let container = CreateMode::Container.with_acls(OPEN);
    let (session, other, lock) = (bed.session().await, bed.session().await, lock("a"));
    let (first, second) = (exclusive(), exclusive());
    let holds = async |session: &Session, entry: &Entry| loop {
        match session.enqueue(&lock, entry).await.unwrap().standing {
            Standing::Waits { wake, seen } if wake[0].as_str() != "ex0000000000" => {
                session.watch(&lock, &entry.id, &wake, seen).await.unwrap();
            }
            standing => break standing == Standing::Holds,
        }
    };
    assert!(holds(&session, &first).await);
    for stray in ["ex-2147483647", "ex2147483647", "ex-stray-2147483648", "ex-stray--000000001"] {
        bed.admin.create(&format!("/_zklocking/a/{stray}"), b"", &PERSISTENT).await.unwrap();
    }
    bed.admin.create("/_zklocking/a/ex-stray--000000002", b"", &container).await.unwrap();
    assert!(!within("the second", holds(&other, &second)).await, "two holders");
    let described = session.describe(&lock).await.unwrap();
    assert_eq!(
        described.into_iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [&first.id, &second.id].map(Clone::clone)
    );
    session.remove(&lock, &first.id).await.unwrap();
    assert!(within("the second, alone", holds(&other, &second)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_remove_is_made_again() {
    let bed = Bed::new().await;
    let root = bed.options().with_root("/deep/down").unwrap();
    let (session, lock) = (open(root).await, lock("a"));
    let path = "/deep/down/_zklocking/a";
    let remover = async {
        loop {
            match bed.admin.delete(path, None).await {
                Ok(()) | Err(ClientError::NoNode | ClientError::NotEmpty) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let acquire = async {
        for _ in 0..300 {
            let entry = exclusive();
            assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
    };
    tokio::select! {
        () = within("300 acquisitions", acquire) => {}
        () = remover => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_when_it_is_empty() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &entry).await.unwrap();
    session.remove(&lock, &entry.id).await.unwrap();
    eventually("no directory", || async { bed.children("/_zklocking").await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_creation_ids_and_outlive_the_directory() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let mut last = FencingToken::new(0);
    for _ in 0..3 {
        let entry = exclusive();
        let token = session.enqueue(&lock, &entry).await.unwrap().token;
        assert_eq!(token, bed.token("/_zklocking/a/ex0000000000").await);
        assert!(token.get() > last.get());
        last = token;
        let details = session.describe(&lock).await.unwrap().remove(0);
        assert_eq!((details.token, details.label.as_str()), (token, "quirks é"));
        assert!(details.since.is_some());
        session.remove(&lock, &entry.id).await.unwrap();
        match bed.admin.delete("/_zklocking/a", None).await {
            Ok(()) | Err(ClientError::NoNode) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_and_empty_directories_removed() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    assert_eq!(session.names().await.unwrap(), []);
    let mut locks = vec![key(Family::Semaphore, "a")];
    locks.extend(["zookeeper", ".", "..", "a/b", "a", "日本", "%", " ", "\0\r\n"].map(lock));
    for lock in &locks {
        let kind = match lock.family {
            Family::Lock => EntryKind::Exclusive,
            Family::Semaphore => EntryKind::Permits { permits: 1, limit: 1 },
        };
        assert_eq!(session.enqueue(lock, &entry(kind)).await.unwrap().standing, Standing::Holds, "{lock:?}");
    }
    for leftover in ["/_zklocking/dead", "/_zksemaphore/dead", "/_zklocking/not%encoded"] {
        bed.admin.create(leftover, b"", &PERSISTENT).await.unwrap();
    }
    locks.extend([lock("dead"), key(Family::Semaphore, "dead")]);
    let mut names = session.names().await.unwrap();
    names.sort();
    locks.sort();
    assert_eq!(names, locks);
    assert_eq!(session.cleanup().await.unwrap(), 2);
    assert_eq!(session.names().await.unwrap().len(), locks.len() - 2);
}
