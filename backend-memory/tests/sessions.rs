//! What a service tells of its session, and that it opens the next one by itself.

use std::time::Duration;

use backend_memory::{Memory, MemoryClient};
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, LockService, Loss, SessionEvent, SessionEvents, SessionState};
use tokio::time::{sleep, timeout};

const SESSION: Duration = MemoryClient::SESSION_TIMEOUT;

async fn client() -> (MemoryClient, QueueLocks) {
    let client = Memory::new().client();
    let locks = client.connect().await.expect("connected");
    (client, locks)
}

async fn next(events: &mut SessionEvents) -> SessionEvent {
    let next = timeout(Duration::from_secs(3600), events.next()).await;
    next.expect("an event comes").expect("the service is there")
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_told_with_its_length() {
    let (network, locks) = client().await;
    let guard = locks.exclusive("a").unwrap().acquire().await.unwrap();
    let mut events = locks.events();
    network.disconnect();
    let deadline = guard.deadline().map(tokio::time::Instant::into_std);
    assert_eq!(next(&mut events).await, SessionEvent::Doubtful { until: deadline });
    sleep(SESSION / 2).await;
    network.reconnect();
    assert_eq!(next(&mut events).await, SessionEvent::Recovered { after: SESSION / 2 });
    assert!(guard.is_valid());
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_a_new_session_is_opened_without_anybody_asking() {
    let (network, locks) = client().await;
    let lock = locks.exclusive("a").unwrap();
    let guards = (lock.acquire().await.unwrap(), locks.shared("b").unwrap().acquire().await.unwrap());
    let mut events = locks.events();
    network.disconnect();
    assert!(matches!(next(&mut events).await, SessionEvent::Doubtful { .. }));
    assert_eq!(next(&mut events).await, SessionEvent::Lost { loss: Loss::Deadline, held: 2 });
    assert_eq!(locks.session(), SessionState::Lost(Loss::Deadline));
    sleep(10 * SESSION).await;
    network.reconnect();
    let SessionEvent::Reopened { after } = next(&mut events).await else { panic!("no new session") };
    assert!(after >= 10 * SESSION, "{after:?}");
    assert_eq!(locks.session(), SessionState::Live);
    assert!(!guards.0.is_valid() && !guards.1.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_before_the_next_session_whoever_opens_it() {
    let (network, locks) = client().await;
    for _ in 0..100 {
        let mut events = locks.events();
        network.expire();
        // Before anything else runs.
        let _guard = locks.exclusive("a").unwrap().acquire().await.unwrap();
        assert!(matches!(next(&mut events).await, SessionEvent::Lost { loss: Loss::Expired, .. }));
        assert!(matches!(next(&mut events).await, SessionEvent::Reopened { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_loses_the_oldest_and_is_told_how_many() {
    let (network, locks) = client().await;
    let (mut slow, mut fast) = (locks.events(), locks.events());
    for _ in 0..100 {
        network.expire();
        assert!(matches!(next(&mut fast).await, SessionEvent::Lost { .. }));
        assert!(matches!(next(&mut fast).await, SessionEvent::Reopened { .. }));
    }
    assert_eq!(next(&mut slow).await, SessionEvent::Missed(200 - 64));
    assert!(matches!(next(&mut slow).await, SessionEvent::Lost { .. }));
}

#[tokio::test(start_paused = true)]
async fn events_end_when_the_service_is_closed_or_gone() {
    let (_network, locks) = client().await;
    let mut events = locks.events();
    locks.close().await.unwrap();
    assert_eq!(next(&mut events).await, SessionEvent::Lost { loss: Loss::Closed, held: 0 });
    assert_eq!(events.next().await, None);

    let (_network, locks) = client().await;
    let mut events = locks.events();
    drop(locks);
    assert_eq!(next(&mut events).await, SessionEvent::Lost { loss: Loss::Closed, held: 0 });
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_service_starts_without_a_server_and_connects_when_it_can() {
    let network = Memory::new().client();
    network.disconnect();
    let locks = QueueLocks::new(network.clone());
    let mut events = locks.events();
    sleep(10 * SESSION).await;
    assert_eq!((locks.session(), locks.session_time()), (SessionState::Connecting, None));
    assert!(locks.ready().await.is_err());
    let lock = locks.exclusive("a").unwrap();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    network.reconnect();
    assert_eq!(next(&mut events).await, SessionEvent::Connected);
    assert_eq!(locks.session(), SessionState::Live);
    locks.ready().await.unwrap();
    assert!(timeout(SESSION, waiting).await.unwrap().unwrap().unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_connected_can_be_closed() {
    let network = Memory::new().client();
    network.disconnect();
    let locks = QueueLocks::new(network.clone());
    let mut events = locks.events();
    locks.close().await.unwrap();
    assert_eq!(events.next().await, Some(SessionEvent::Lost { loss: Loss::Closed, held: 0 }));
    assert_eq!(events.next().await, None);
    assert_eq!(locks.session(), SessionState::Lost(Loss::Closed));
    network.reconnect();
    assert_eq!(locks.ready().await.unwrap_err().loss(), Some(Loss::Closed));
}

#[test]
fn outside_of_a_runtime_the_first_acquisition_connects() {
    let locks = QueueLocks::new(Memory::new().client());
    assert_eq!(locks.session(), SessionState::Connecting);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.block_on(locks.exclusive("a").unwrap().try_acquire()).unwrap();
    assert!(guard.is_some_and(|guard| guard.is_valid()));
}
