//! What the session does by itself, on its own runtime: it watches over what is held, and removes what was dropped.

mod fixture;

use std::time::Duration;

use fixture::{GRANTED, LONG, Server, exclusive, runtime, service, soon, warnings};
use lockcore::{
    AcquireOptions, DistributedLockExt, EntryId, ErrorKind, LockService, Loss, Released, watches_held,
};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_removed_entry_is_noticed_by_itself() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    server.wipe();
    assert_eq!(soon("the loss is told", guard.lost()).await, Loss::Removed);
    assert!(!guard.is_valid());
}

/// The entry goes with the session: the session is what was lost.
#[tokio::test(start_paused = true)]
async fn the_reason_of_a_loss_does_not_change() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    assert_eq!(guard.lost().await, Loss::Deadline);
    server.wipe();
    sleep(LONG).await;
    assert_eq!(guard.loss_signal().loss(), Some(Loss::Deadline));
}

/// By the server, not by looking again.
#[tokio::test(start_paused = true)]
async fn a_removal_is_told_at_once_also_later() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    let start = Instant::now();
    server.wipe();
    assert_eq!(soon("the loss is told", guard.lost()).await, Loss::Removed);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(guard.deadline(), Some(Instant::now()), "it is over");
}

#[tokio::test(start_paused = true)]
async fn wake_ups_that_are_lost_are_made_up_for() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().wakes_nobody = true;
    let guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    server.until_entries(2).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = soon("it is granted", waiting).await.unwrap().unwrap();
    sleep(Duration::from_secs(100)).await;
    server.wipe();
    assert_eq!(soon("the loss is told", next.lost()).await, Loss::Removed);
}

/// As when it was acquired on a runtime of a test, or of one request, that has ended since.
#[test]
fn a_removal_is_noticed_although_the_runtime_that_acquired_is_gone() {
    let server = Server::new(None);
    let first = runtime();
    let (_locks, lock) = first.block_on(exclusive(&server));
    let guard = runtime().block_on(lock.acquire()).unwrap();
    server.wipe();
    assert_eq!(first.block_on(soon("the loss is told", guard.lost())), Loss::Removed);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_given_back_is_no_loss() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    for hold in [Duration::ZERO, Duration::from_secs(5)] {
        let guard = lock.acquire().await.unwrap();
        let signal = guard.loss_signal();
        sleep(hold).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
        sleep(LONG).await;
        assert_eq!(signal.loss(), None, "after {hold:?}");
    }
    assert_eq!(server.lists(), 0, "whoever gives back knows why the entry is gone");
}

/// Drivers treat it differently: nobody lets in who holds.
#[test]
fn a_watch_is_that_of_a_holder_if_it_is_for_its_own_entry_alone() {
    let [own, other] = ["own", "other"].map(EntryId::from);
    for (ids, held) in [
        (&[own.clone()][..], true),
        (std::slice::from_ref(&other), false),
        (&[other.clone(), own.clone()], false),
        (&[], false),
    ] {
        assert_eq!(watches_held(&own, ids), held, "{ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn short_holds_are_not_watched() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    for _ in 0..100 {
        let guard = lock.acquire().await.unwrap();
        // In the middle of which the watcher looks at times.
        sleep(Duration::from_millis(130)).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
    }
    assert_eq!((server.watches(), server.lists()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_watched_within_two_seconds() {
    let server = Server::new(None);
    let lock = service(&server).await.shared("a").unwrap();
    let mut held = Vec::new();
    for later in [0, 500, 3000].map(Duration::from_millis) {
        sleep(later).await;
        held.push(lock.acquire().await.unwrap());
    }
    sleep(Duration::from_millis(1990)).await;
    assert_eq!(server.watches(), 3);
}

/// Each would list all the others.
#[tokio::test(start_paused = true)]
async fn whoever_waits_long_sets_his_watch_again_and_lists_nothing() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (holder, waiter) = (lock.clone(), lock);
    let guard = holder.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    server.until_entries(2).await;
    sleep(LONG).await;
    assert_eq!(server.lists(), 0);
    assert!(server.watches() > 200, "{} watches of two entries in an hour", server.watches());
    assert_eq!(server.watches_since(), 1, "the server need not know for ever what was when they were seen");
    drop(guard);
    drop(soon("it is granted", waiting).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_entry_is_removed_is_told_before_its_turn() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let waiter = lock.clone();
    let _guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    server.until_entries(2).await;
    server.remove(&server.entries()[1]);
    let error = soon("the wait ends", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EntryRemoved);
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_tells_is_not_asked_for_again() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().tells = true;
    let (guard, waiter) = (lock.acquire().await.unwrap(), lock.clone());
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    server.until_entries(2).await;
    drop(guard);
    let next = soon("it is granted", waiting).await.unwrap().unwrap();
    // Until the entry of the new holder is watched as well.
    sleep(Duration::from_secs(5)).await;
    server.wipe();
    assert_eq!(soon("the loss is told", next.lost()).await, Loss::Removed);
    assert_eq!((server.watches(), server.lists()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_tells_too_late_for_the_session_is_no_grant() {
    let server = Server::new(None);
    let (_first, lock) = exclusive(&server).await;
    let (_second, unlucky) = exclusive(&server).await;
    (server.mood().tells, server.mood().answers_too_late) = (true, true);
    let guard = lock.acquire().await.unwrap();
    let waiting =
        tokio::spawn(async move { unlucky.acquire_with(&AcquireOptions::new().with_requeue(false)).await });
    server.until_entries(2).await;
    drop(guard);
    let error = soon("the wait ends", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_by_its_watch_that_its_entry_was_removed() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().tells = true;
    let (_guard, waiter) = (lock.acquire().await.unwrap(), lock.clone());
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    server.until_entries(2).await;
    server.wipe();
    let error = soon("the wait ends", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EntryRemoved);
    assert_eq!(server.lists(), 0);
}

/// Watches may return without reason, those of a holder as well.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_told_that_it_holds_is_watched_again() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().tells = true;
    server.mood().wakes_for_nothing = 3;
    let guard = lock.acquire().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(guard.is_valid());
    server.wipe();
    assert_eq!(soon("the loss is told", guard.lost()).await, Loss::Removed);
    assert_eq!((server.watches(), server.lists()), (4, 0));
}

/// Thousands may be held, and each is looked at only when it is new.
#[tokio::test(start_paused = true)]
async fn every_hold_is_watched_once_however_many_come_and_go() {
    let server = Server::new(None);
    let locks = service(&server).await;
    let lock = locks.shared("a").unwrap();
    let mut held = Vec::new();
    for number in 0..100 {
        held.push(lock.acquire().await.unwrap());
        if number % 2 == 1 {
            // Its key is free for the next one.
            drop(held.swap_remove(number / 4));
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(3)).await;
    let watches = server.watches();
    assert!((50..=100).contains(&watches), "{watches} watches for 100 holds");
    server.wipe();
    for guard in held {
        assert_eq!(soon("the loss is told", guard.lost()).await, Loss::Removed);
    }
}

/// A whole window of removals that are refused must not stop the others.
#[tokio::test(start_paused = true)]
async fn removals_that_are_refused_do_not_hold_up_the_others() {
    let server = Server::new(None);
    let locks = service(&server).await;
    server.mood().keeps.insert("kept".parse().unwrap());
    let kept = locks.shared("kept").unwrap();
    for _ in 0..200 {
        drop(kept.acquire().await.unwrap());
    }
    let other = locks.exclusive("other").unwrap();
    drop(other.acquire().await.unwrap());
    soon("the other lock is given back", server.until_entries(200)).await;
    server.mood().keeps.clear();
    soon("the rest is, too", server.until_entries(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_nobody_uses_ends_although_a_removal_is_refused() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    server.mood().keeps.insert("a".parse().unwrap());
    let (_, said) = warnings(async {
        drop(lock.acquire().await.unwrap());
        sleep(LONG).await;
    })
    .await;
    assert_eq!(said.matches("cannot be removed").count(), 1, "{said}");
    assert_eq!(server.entries().len(), 1);
    drop((locks, lock));
    soon("the session ends, and its entry with it", server.until_entries(0)).await;
}

/// Nobody has to know of what passes.
#[tokio::test(start_paused = true)]
async fn a_removal_that_is_repeated_is_no_reason_to_warn() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    let (_, said) = warnings(async {
        server.mood().fails = Some(ErrorKind::Unreachable);
        drop(guard);
        sleep(LONG).await;
        server.mood().fails = None;
        soon("the entry goes", server.until_entries(0)).await;
    })
    .await;
    assert_eq!(said, "");
}

/// The entry goes with the session: there is nothing to warn of.
#[tokio::test(start_paused = true)]
async fn a_removal_that_comes_too_late_for_its_session_is_no_trouble() {
    let (_, said) = warnings(async {
        // Which of the two the janitor sees first is up to chance.
        for _ in 0..100 {
            let server = Server::new(None);
            let (locks, lock) = exclusive(&server).await;
            server.mood().fails_when_closed = Some(ErrorKind::Backend);
            drop(lock.acquire().await.unwrap());
            locks.close().await.unwrap();
            sleep(LONG).await;
        }
    })
    .await;
    assert_eq!(said, "");
}
