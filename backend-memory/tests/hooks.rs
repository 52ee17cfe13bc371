//! What an application's unit tests can break.

use std::time::Duration;

use backend_memory::{Fault, Memory, MemoryClient};
use lockcore::queue::QueueLocks;
use lockcore::{Config, DistributedLockExt, ErrorKind, LockService, Loss, Registry, Released, SessionState};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn two_clients(memory: &Memory) -> [(MemoryClient, QueueLocks); 2] {
    let (one, other) = (memory.client(), memory.client());
    let (to_one, to_other) =
        (one.connect().await.expect("connected"), other.connect().await.expect("connected"));
    [(one, to_one), (other, to_other)]
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_is_lost_and_lets_the_next_in() {
    let [(alice, a), (_, b)] = two_clients(&Memory::new()).await;
    let guard = a.exclusive("lock").unwrap().acquire().await.unwrap();
    let next = b.exclusive("lock").unwrap();
    let waiting = tokio::spawn(async move { next.acquire().await });
    alice.expire();
    assert_eq!(guard.lost().await, Loss::Expired);
    assert!(waiting.await.unwrap().unwrap().fencing_token() > guard.fencing_token());
    let again = a.exclusive("other").unwrap().acquire().await.unwrap();
    assert!(again.is_valid(), "a new session serves later acquisitions");
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_session_is_doubtful_then_lost_then_expired() {
    let [(alice, a), (_, b)] = two_clients(&Memory::new()).await;
    let guard = a.exclusive("lock").unwrap().acquire().await.unwrap();
    let cut = Instant::now();
    alice.disconnect();
    assert!(matches!(a.session(), SessionState::Doubtful { .. }) && guard.is_valid());
    guard.lost().await;
    let told = cut.elapsed();
    let _next = b.exclusive("lock").unwrap().acquire().await.unwrap();
    let let_in = cut.elapsed();
    assert!(told < let_in && let_in >= MemoryClient::SESSION_TIMEOUT, "told {told:?}, let in {let_in:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reconnected_session_lives_on() {
    let [(alice, a), _] = two_clients(&Memory::new()).await;
    let guard = a.exclusive("lock").unwrap().acquire().await.unwrap();
    alice.disconnect();
    tokio::time::sleep(MemoryClient::SESSION_TIMEOUT / 2).await;
    alice.reconnect();
    tokio::time::sleep(10 * MemoryClient::SESSION_TIMEOUT).await;
    assert_eq!(a.session(), SessionState::Live);
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_disconnected_from_the_start_cannot_connect() {
    let client = Memory::new().client();
    client.disconnect();
    assert_eq!(client.connect().await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_arrives_although_its_caller_is_gone() {
    let [(alice, a), (_, b)] = two_clients(&Memory::new()).await;
    let lock = a.exclusive("lock").unwrap();
    alice.inject(Fault::DelayRequest(3 * SECOND));
    let error = lock.acquire_timeout(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "nothing was heard of it");
    let seen = b.exclusive("lock").unwrap();
    assert!(seen.queue().await.unwrap().is_empty(), "not arrived yet");
    // The removal goes behind it, so whoever comes afterwards gets the lock.
    tokio::time::sleep(3 * SECOND).await;
    assert!(seen.try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_reply_delays_its_caller_only() {
    let [(alice, a), (_, b)] = two_clients(&Memory::new()).await;
    alice.inject(Fault::DelayReply(3 * SECOND));
    let lock = a.exclusive("lock").unwrap();
    let slow = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(SECOND).await;
    assert!(b.exclusive("lock").unwrap().try_acquire().await.unwrap().is_none(), "it has taken effect");
    assert!(!slow.is_finished());
    assert!(slow.await.unwrap().unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn lost_requests_and_replies_are_made_up_for() {
    for fault in [Fault::LoseRequest, Fault::LoseReply] {
        let [(alice, a), _] = two_clients(&Memory::new()).await;
        let lock = a.exclusive("lock").unwrap();
        alice.inject(fault);
        let guard = lock.acquire().await.unwrap();
        assert_eq!(lock.queue().await.unwrap().len(), 1, "{fault:?}");
        alice.inject(fault);
        assert_eq!(guard.release().await.unwrap(), Released::Held, "{fault:?}");
        assert!(lock.queue().await.unwrap().is_empty(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wake_ups_can_be_held_back() {
    let [(_, a), (bob, b)] = two_clients(&Memory::new()).await;
    let (first, second) = (a.exclusive("lock").unwrap(), b.exclusive("lock").unwrap());
    let guard = first.acquire().await.unwrap();
    let mut waiting = tokio::spawn(async move { second.acquire().await });
    while first.queue().await.unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    bob.hold_wake_ups(true);
    drop(guard);
    assert!(timeout(SECOND, &mut waiting).await.is_err(), "woken although wake-ups are held back");
    bob.hold_wake_ups(false);
    assert!(timeout(SECOND, waiting).await.expect("woken").unwrap().unwrap().is_valid());
}

#[tokio::test]
async fn urls_name_a_place_of_ones_own_or_a_shared_one() {
    let registry = Registry::new().with(backend_memory::SCHEME, backend_memory::MemoryFactory);
    let connect = |url: &str| {
        let (registry, config) = (registry.clone(), Config::new(url));
        async move { registry.connect(&config).await }
    };
    let (mine, yours) = (connect("memory://").await.unwrap(), connect("memory://").await.unwrap());
    let _mine = mine.exclusive("lock").unwrap().acquire().await.unwrap();
    assert!(yours.exclusive("lock").unwrap().try_acquire().await.unwrap().is_some());
    let (one, other) = (connect("memory://hooks").await.unwrap(), connect("memory://hooks").await.unwrap());
    let _held = one.exclusive("lock").unwrap().acquire().await.unwrap();
    assert!(other.exclusive("lock").unwrap().try_acquire().await.unwrap().is_none());
    for wrong in ["memory://a,b", "memory://a/b", "memory://user@a", "memory://?nonsense=1"] {
        assert_eq!(connect(wrong).await.unwrap_err().kind(), ErrorKind::InvalidConfig, "{wrong}");
    }
}

/// On one thread, whoever takes a free lock again and again must not keep all others from running.
#[tokio::test]
async fn taking_free_locks_lets_other_tasks_run() {
    let locks = Memory::new().client().connect().await.unwrap();
    let lock = locks.exclusive("a").unwrap();
    let other = tokio::spawn(async {});
    while !other.is_finished() {
        let _ = lock.acquire().await.unwrap().release().await.unwrap();
    }
}
