//! The lock service over a backend, where drivers cannot get it wrong: cancellation, loss, release, closing.

mod fixture;

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fixture::{CLEANED, GRANTED, LONG, Server, exclusive, runtime, service, soon};
use lockcore::{
    AcquireOptions, DistributedLockExt, ErrorKind, LockGuard, LockService, Loss, Released, SessionState, Wait,
};
use tokio::time::{Instant, sleep};

/// Polls at most so often, letting everybody else run in between.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_that_is_dropped_anywhere_leaves_nothing() {
    for others_hold in [false, true] {
        for polls in 0..12 {
            let server = Server::new(None);
            let (locks, lock) = exclusive(&server).await;
            let holder = if others_hold { Some(lock.acquire().await.unwrap()) } else { None };
            drop(poll_times(lock.acquire(), polls).await);
            soon("the entry goes", server.until_entries(usize::from(others_hold))).await;
            drop(holder);
            let guard = soon("the next one enters", lock.acquire()).await.unwrap();
            assert_eq!(server.entries().len(), 1);
            assert_eq!(guard.release().await.unwrap(), Released::Held);
            drop(locks);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_dropped_anywhere_goes_on() {
    for polls in 0..6 {
        let server = Server::new(None);
        let (_locks, lock) = exclusive(&server).await;
        let guard = lock.acquire().await.unwrap();
        drop(poll_times(guard.release(), polls).await);
        soon("the entry goes", server.until_entries(0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn giving_back_costs_one_request() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    assert_eq!(lock.acquire().await.unwrap().release().await.unwrap(), Released::Held);
    sleep(LONG).await;
    assert_eq!(server.removals(), 1);
    drop(lock.acquire().await.unwrap());
    sleep(LONG).await;
    assert_eq!(server.removals(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_guard_may_be_dropped_where_no_runtime_is() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    soon("the entry goes", server.until_entries(0)).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_no_time_or_for_ever_is_no_special_case() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire_timeout(Duration::MAX).await.unwrap().unwrap();
    for wait in [Wait::Never, Wait::For(Duration::ZERO), Wait::For(Duration::from_nanos(1))] {
        let tried = lock.acquire_with(&AcquireOptions::new().with_wait(wait)).await.unwrap();
        assert!(tried.is_none(), "{wait:?}");
        assert_eq!(server.entries().len(), 1, "{wait:?}");
    }
    let waiting = tokio::spawn(async move { lock.acquire_timeout(Duration::MAX).await });
    server.until_entries(2).await;
    drop(guard);
    assert!(soon("it is granted", waiting).await.unwrap().unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_that_the_service_was_closed() {
    for fails_when_closed in [None, Some(ErrorKind::Backend), Some(ErrorKind::Unreachable)] {
        let server = Server::new(None);
        let (locks, lock) = exclusive(&server).await;
        server.mood().fails_when_closed = fails_when_closed;
        let guard = lock.acquire().await.unwrap();
        let next = lock.clone();
        let waiting = tokio::spawn(async move { next.acquire().await });
        server.until_entries(2).await;
        locks.close().await.unwrap();
        locks.close().await.unwrap();
        let error = soon("the wait ends", waiting).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{fails_when_closed:?}");
        assert_eq!(guard.lost().await, Loss::Closed);
        assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Closed), "{fails_when_closed:?}");
        assert_eq!(lock.acquire().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(server.entries().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_ends_its_session_when_the_last_guard_goes() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    drop((locks, lock));
    assert!(guard.is_valid());
    drop(guard);
    soon("the entry goes", server.until_entries(0)).await;
}

/// Nobody polls an opening that everybody gave up waiting for; it must not grow old meanwhile.
#[tokio::test(start_paused = true)]
async fn the_next_session_opens_even_if_nobody_waits_for_it_any_more() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let lost = lock.acquire().await.unwrap();
    lost.lost().await;
    let door = server.doors().acquire().await.unwrap();
    let error = lock.acquire_timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    drop(door);
    // Behind the session that is being opened, and before any other.
    let door = soon("the session is opened", server.doors().acquire()).await.unwrap();
    let guard = soon("the session is in use", lock.acquire()).await.unwrap();
    drop(door);
    assert!(guard.is_valid() && !lost.is_valid());
}

#[tokio::test(start_paused = true)]
async fn everybody_waits_for_the_same_next_session() {
    let server = Server::new(Some(GRANTED));
    let locks = service(&server).await;
    sleep(GRANTED).await;
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let all = names.iter().map(|name| {
        let lock = locks.exclusive(name).unwrap();
        async move { lock.acquire().await }
    });
    let guards: Vec<LockGuard> = futures::future::try_join_all(all).await.unwrap();
    assert!(guards.iter().all(LockGuard::is_valid));
    assert_eq!(server.entries().len(), 20);
    // The fixture numbers sessions and tokens together: two sessions and a token for each grant.
    let highest = guards.iter().map(|guard| guard.fencing_token().get()).max();
    assert_eq!(highest, Some(22));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    let server = Server::new(None);
    let locks = service(&server).await;
    for limit in [0, u32::MAX] {
        assert_eq!(locks.semaphore("s", limit).unwrap_err().kind(), ErrorKind::InvalidInput, "{limit}");
    }
    let options = AcquireOptions::new;
    let (semaphore, exclusive) = (locks.semaphore("s", 3).unwrap(), locks.exclusive("a").unwrap());
    for (lock, options) in [
        (&semaphore, options().with_permits(0)),
        (&semaphore, options().with_permits(4)),
        (&exclusive, options().with_permits(2)),
        (&exclusive, options().with_label("x".repeat(513))),
    ] {
        let error = soon("a refusal", lock.acquire_with(&options)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{options:?}");
    }
    let longest = options().with_label("x".repeat(512));
    assert!(exclusive.acquire_with(&longest).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_service_tells_of_its_session_and_of_what_was_cleaned_up() {
    let server = Server::new(Some(GRANTED));
    let locks = service(&server).await;
    assert_eq!(locks.session(), SessionState::Live);
    assert_eq!(locks.cleanup().await.unwrap(), CLEANED);
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    sleep(GRANTED).await;
    assert_eq!(locks.session(), SessionState::Lost(Loss::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_guard_whose_entry_is_found_missing_is_not_valid_any_more() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    guard.verify().await.unwrap();
    server.wipe();
    assert_eq!(guard.verify().await.unwrap_err().kind(), ErrorKind::EntryRemoved);
    assert!(!guard.is_valid());
    assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Removed));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_finds_nothing_tells_of_the_loss() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    server.wipe();
    assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Removed));
    let work = lock.with(|_| async { server.wipe() });
    assert_eq!(work.await.unwrap_err().kind(), ErrorKind::EntryRemoved);
}

#[tokio::test(start_paused = true)]
async fn questions_to_a_server_that_is_silent_end_with_the_session() {
    let server = Server::new(Some(GRANTED));
    let (locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    server.mood().silent = true;
    let lost = |kind| assert_eq!(kind, ErrorKind::SessionLost);
    let (verified, released, listed) = tokio::join!(
        soon("it cannot be verified", guard.verify()),
        soon("the release ends", async { lock.queue().await }),
        soon("the list ends", locks.names()),
    );
    lost(verified.unwrap_err().kind());
    lost(released.unwrap_err().kind());
    lost(listed.unwrap_err().kind());
    assert_eq!(soon("the release ends", guard.release()).await.unwrap(), Released::Lost(Loss::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_release_out_of_reach_ends_with_the_session() {
    for (silent, fails, loss) in [
        (true, None, Loss::Deadline),
        (false, Some(ErrorKind::Unreachable), Loss::Deadline),
        // That is what the server says.
        (false, Some(ErrorKind::SessionLost), Loss::Expired),
    ] {
        let server = Server::new(Some(GRANTED));
        let (_locks, lock) = exclusive(&server).await;
        let guard = lock.acquire().await.unwrap();
        (server.mood().silent, server.mood().fails) = (silent, fails);
        let released = soon("the release ends", guard.release()).await.unwrap();
        assert_eq!(released, Released::Lost(loss), "{fails:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_whose_last_step_outlasts_the_lock_was_not_protected() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    let blocks = std::future::poll_fn(|context| {
        // The clock moves in the first poll.
        let _ = std::pin::pin!(tokio::time::advance(GRANTED)).poll(context);
        Poll::Ready(())
    });
    assert_eq!(guard.protect(blocks).await.unwrap_err().kind(), ErrorKind::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_after_the_close_is_closed() {
    let server = Server::new(Some(GRANTED));
    let (locks, lock) = exclusive(&server).await;
    lock.acquire().await.unwrap().lost().await;
    let door = server.doors().acquire().await.unwrap();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(GRANTED).await;
    assert_eq!(server.sessions(), 0);
    let closed = Instant::now();
    locks.close().await.unwrap();
    assert_eq!(soon("the wait ends", waiting).await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(closed.elapsed(), Duration::ZERO, "it does not wait for the session");
    drop(door);
    // Longer than it takes to open one, shorter than it lives if nobody closes it.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.sessions(), 0, "a session is left open");
}

#[tokio::test(start_paused = true)]
async fn a_grant_without_end_has_no_deadline() {
    for granted in [None, Some(Duration::MAX)] {
        let (_locks, lock) = exclusive(&Server::new(granted)).await;
        assert_eq!(lock.acquire().await.unwrap().deadline(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_time_is_what_the_server_granted() {
    for granted in [None, Some(Duration::from_secs(7))] {
        let (locks, lock) = exclusive(&Server::new(granted)).await;
        assert_eq!(locks.session_time(), granted);
        let guard = lock.acquire().await.unwrap();
        assert!(guard.descriptor().unwrap().is_none(), "a server's entry is no file");
    }
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_is_not_broken_by_one_who_disagrees() {
    let server = Server::new(None);
    let locks = service(&server).await;
    let (three, two) = (locks.semaphore("s", 3).unwrap(), locks.semaphore("s", 2).unwrap());
    let first = three.acquire().await.unwrap();
    let error = two.acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitMismatch);
    assert!(error.to_string().contains('3') && error.to_string().contains('2'), "{error}");
    let second = three.acquire().await.unwrap();
    assert_eq!(server.entries().len(), 2);
    drop(first);
    sleep(LONG).await;
    assert!(second.is_valid());
}

/// As in a test suite with one service for all tests and a runtime for each: no endless wait behind an entry that
/// nobody removes.
#[test]
fn a_service_outlives_the_runtime_it_was_opened_on() {
    let server = Server::new(None);
    let first = runtime();
    let (locks, lock) = first.block_on(exclusive(&server));
    let guard = first.block_on(lock.acquire()).unwrap();
    drop(first);
    assert!(!guard.is_valid());
    drop(guard);
    let guard = runtime().block_on(async { soon("it is granted", lock.acquire()).await }).unwrap();
    assert_eq!(server.entries().len(), 1);
    drop((guard, locks));
}

/// As in a synchronous wrapper, whose runtime stands still between two calls.
#[test]
fn a_session_whose_opening_stands_still_is_opened_anew() {
    let server = Server::new(Some(GRANTED));
    let first = runtime();
    let (_locks, lock) = first.block_on(exclusive(&server));
    drop(first);
    let still = runtime();
    let tried = still.block_on(lock.acquire_timeout(Duration::from_millis(1)));
    assert_eq!(tried.unwrap_err().kind(), ErrorKind::Unreachable);
    // The one that stands still has a permit.
    server.doors().add_permits(1);
    let other = runtime();
    assert!(other.block_on(async { soon("it is granted", lock.acquire()).await }).unwrap().is_valid());
    drop(still);
}

#[test]
fn a_session_whose_opening_broke_off_is_opened_anew() {
    let server = Server::new(Some(GRANTED));
    let first = runtime();
    let (_locks, lock) = first.block_on(exclusive(&server));
    drop(first);
    let opening = runtime();
    opening.block_on(async {
        let door = server.doors().acquire().await.unwrap();
        let tried = lock.acquire_timeout(GRANTED).await;
        assert!(tried.is_err(), "{tried:?}");
        drop(door);
    });
    drop(opening);
    let last = runtime();
    assert!(last.block_on(async { soon("it is granted", lock.acquire()).await }).unwrap().is_valid());
}
