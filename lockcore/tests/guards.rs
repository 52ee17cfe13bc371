//! What a guard tells of its lock, and how it gives it back, whatever the server answers.

mod fixture;

use fixture::{GRANTED, Server, exclusive, service, soon};
use lockcore::{
    AcquireOptions, DistributedLockExt, Effect, EntryKind, ErrorKind, LockGuard, LockService, Loss,
    QueueEntry, Released,
};

#[tokio::test(start_paused = true)]
async fn the_queue_shows_what_was_asked_for_and_by_whom() {
    let server = Server::new(None);
    let lock = service(&server).await.semaphore("s", 3).unwrap();
    assert_eq!(lock.kind().to_string(), "semaphore of 3");
    let two = AcquireOptions::new().with_permits(2).with_label("two");
    let held = [lock.acquire_with(&two).await.unwrap().unwrap(), lock.acquire().await.unwrap()];
    let waits = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire_with(&two).await }
    });
    server.until_entries(3).await;
    let queue = lock.queue().await.unwrap();
    let shown = |entry: &QueueEntry| (entry.position, entry.kind, entry.holds);
    let permits = |permits| EntryKind::Permits { permits, limit: 3 };
    let expected = [(0, permits(2), true), (1, permits(1), true), (2, permits(2), false)];
    assert_eq!(queue.iter().map(shown).collect::<Vec<_>>(), expected);
    assert_eq!(queue[0].label, "two");
    assert!(queue[1].label.ends_with(&format!(":{}", std::process::id())), "{}", queue[1].label);
    assert_eq!(held.each_ref().map(LockGuard::fencing_token), [queue[0].token, queue[1].token]);
    assert!(!lock.acquirable().await.unwrap());
    waits.abort();
    drop(held);
    soon("all entries go", server.until_entries(0)).await;
    assert!(lock.acquirable().await.unwrap());
}

/// An earlier request may have removed it, if it may have been executed.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_repeated_tells_of_a_loss_only_if_it_is_certain() {
    for (effect, removed_by_hand, released) in [
        (Effect::Unknown, false, Released::Held),
        (Effect::None, false, Released::Held),
        (Effect::None, true, Released::Lost(Loss::Removed)),
    ] {
        let server = Server::new(None);
        let (_locks, lock) = exclusive(&server).await;
        let guard = lock.acquire().await.unwrap();
        server.mood().breaks_removal = Some(effect);
        if removed_by_hand {
            server.wipe();
        }
        let answer = soon("the release ends", guard.release()).await.unwrap();
        assert_eq!(answer, released, "{effect:?} {removed_by_hand}");
        assert_eq!(server.entries().len(), 0);
    }
}

/// What is lost by the time of the answer was not held until then, whatever the answer is.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_loss_does_not_hide_it() {
    for releases in [false, true] {
        let server = Server::new(None);
        let (_locks, lock) = exclusive(&server).await;
        let guard = lock.acquire().await.unwrap();
        server.mood().answers_too_late = true;
        if releases {
            assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Expired));
        } else {
            assert_eq!(guard.verify().await.unwrap_err().kind(), ErrorKind::SessionLost);
        }
    }
}

/// The entry is removed in the background, if ever: whoever asked cannot know.
#[tokio::test(start_paused = true)]
async fn a_release_that_is_refused_is_an_error_of_unknown_effect() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    server.mood().keeps.insert("a".parse().unwrap());
    let error = soon("the release ends", guard.release()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::PermissionDenied, Effect::Unknown));
    server.mood().keeps.clear();
    soon("the entry goes", server.until_entries(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_has_the_file_of_its_entry() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().has_files = true;
    assert!(lock.acquire().await.unwrap().descriptor().unwrap().is_some());
}

/// However long it would go on: from then on nothing of it runs.
#[tokio::test(start_paused = true)]
async fn work_is_dropped_when_its_lock_is_lost() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let (works, dropped) = tokio::sync::oneshot::channel::<()>();
    let work = lock.with(|_| async move {
        std::future::pending::<()>().await;
        drop(works);
    });
    let error = soon("the work ends", work).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    assert!(soon("it is dropped", dropped).await.is_err());
}
