//! From when a session counts, and when a connection may be used: against a server that answers when it is told to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backend_zookeeper::ZooKeeperOptions;
use tokio::time::sleep;

use crate::bed::{Session, eventually, lives, lock, open, within};
use crate::fake::{Fake, Request};

/// The session lasts for ten seconds, of which a fifth is kept back.
const VALIDITY: Duration = Duration::from_secs(8);
const INTERVAL: Duration = Duration::from_nanos(10_000_000_000 / 6);
/// The code of an error.
const SESSION_MOVED: i32 = -118;
/// Longer than an interval, shorter than what counts as silence.
const DELAY: Duration = Duration::from_millis(2500);

async fn session(fake: &Fake) -> Session {
    open(ZooKeeperOptions::new([fake.address.to_string()])).await
}

/// How many of these have been asked for.
fn count(fake: &Fake, request: Request) -> usize {
    fake.asked().into_iter().filter(|asked| *asked == request).count()
}

/// Waits until so many of these have been asked for.
async fn asked(fake: &Fake, request: Request, least: usize) {
    eventually("the request", || async { count(fake, request) >= least }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_counts_from_when_it_was_asked_for() {
    let fake = Arc::new(Fake::start().await);
    let opening = {
        let fake = fake.clone();
        tokio::spawn(async move { session(&fake).await })
    };
    asked(&fake, Request::Connect, 1).await;
    let asked = Instant::now();
    sleep(DELAY).await;
    let late = asked.elapsed();
    fake.answers.send_replace(2);
    let session = within("the session", opening).await.unwrap();
    // The first renewal counts for one interval more.
    assert!(session.lease().remaining().unwrap() <= VALIDITY + INTERVAL - late);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_counts_from_when_it_was_sent_and_not_far_beyond_the_one_before() {
    let fake = Fake::start().await;
    fake.answers.send_replace(2);
    let session = session(&fake).await;
    asked(&fake, Request::Transaction, 2).await;
    let sent = Instant::now();
    sleep(DELAY).await;
    let late = sent.elapsed();
    // The late one, and the one after it, which is sent at once.
    fake.answers.send_replace(4);
    let remaining = || session.lease().remaining().unwrap();
    eventually("both renewals", || async { remaining() > VALIDITY - late }).await;
    assert!(remaining() <= VALIDITY + INTERVAL - late);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_when_a_majority_has_confirmed_the_session_there() {
    let fake = Fake::start().await;
    fake.answers.send_replace(3);
    let (session, lock) = (session(&fake).await, lock("a"));
    let before = fake.asked();
    fake.cut();
    let listed = {
        let (session, lock) = (session.clone(), lock.clone());
        tokio::spawn(async move { while session.list(&lock).await.is_err() {} })
    };
    // Whatever was sent with the transaction comes before the ping that follows when nothing else is sent.
    let asked_since = || fake.asked().split_off(before.len());
    let pinged = || {
        let asked = asked_since();
        let transaction = asked.iter().position(|asked| *asked == Request::Transaction)?;
        asked[transaction..].contains(&Request::Ping).then_some(())
    };
    eventually("a ping", || async { pinged().is_some() }).await;
    assert!(!asked_since().contains(&Request::Other), "{:?}", asked_since());
    fake.answers.send_replace(4);
    within("the list", listed).await.unwrap();
    assert!(asked_since().contains(&Request::Other));
}

/// It may be cut off from the others, and not know it yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_but_confirms_nothing_is_left() {
    let fake = Fake::start().await;
    fake.answers.send_replace(2);
    let session = session(&fake).await;
    asked(&fake, Request::Connect, 2).await;
    assert_eq!(session.lease().loss(), None);
}

/// An attempt to connect that came late, by way of another server, may have taken it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_taken_over_is_taken_back() {
    let fake = Fake::start().await;
    fake.answers.send_replace(2);
    let session = session(&fake).await;
    fake.error.store(SESSION_MOVED, Ordering::Relaxed);
    fake.answers.send_replace(3);
    asked(&fake, Request::Connect, 2).await;
    fake.error.store(0, Ordering::Relaxed);
    fake.answers.send_replace(5);
    lives(&session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_refused_every_time_is_not_tried_without_pause() {
    let fake = Fake::start().await;
    fake.answers.send_replace(2);
    let session = session(&fake).await;
    fake.error.store(SESSION_MOVED, Ordering::Relaxed);
    fake.answers.send_replace(usize::MAX);
    within("the loss", session.lease().lost()).await;
    let connections = count(&fake, Request::Connect);
    assert!((5..50).contains(&connections), "{connections} connections");
}
