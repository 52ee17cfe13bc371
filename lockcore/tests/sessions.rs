//! What is logged of sessions, and how the next one is opened.

mod fixture;

use std::time::Duration;

use fixture::{GRANTED, PLACE, Server, service, warnings};
use lockcore::{DistributedLockExt, ErrorKind, LockService, SessionState};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn one_warning_tells_of_a_loss_with_the_server_and_what_was_held() {
    let server = Server::new(Some(GRANTED));
    let locks = service(&server).await;
    let guards = ["a", "b"].map(|name| locks.exclusive(name).unwrap());
    let guards = [guards[0].acquire().await.unwrap(), guards[1].acquire().await.unwrap()];
    let waiting = tokio::spawn({
        let lock = locks.exclusive("a").unwrap();
        async move { lock.acquire().await }
    });
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    let (_, said) = warnings(sleep(10 * GRANTED)).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("WARN") && said.contains(PLACE) && said.contains("held=2"), "{said}");
    assert!(!guards[0].is_valid() && !waiting.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_happens_again_and_again_is_logged_every_ten_seconds() {
    // A session that is never renewed: lost after a second, over and over.
    let server = Server::new(Some(Duration::from_millis(1250)));
    let locks = service(&server).await;
    let (_, said) = warnings(sleep(Duration::from_secs(60))).await;
    assert!((6..=7).contains(&said.lines().count()), "{said}");
    assert!(server.openings() > 50, "{locks}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_opened_is_tried_again_without_hurry() {
    for kind in [ErrorKind::Unreachable, ErrorKind::PermissionDenied] {
        let server = Server::new(Some(GRANTED));
        let locks = service(&server).await;
        server.mood().refuses_sessions = Some(kind);
        sleep(GRANTED).await;
        let before = server.openings();
        sleep(Duration::from_secs(60)).await;
        let tries = server.openings() - before;
        assert!((40..=125).contains(&tries), "{tries} in a minute, {kind}");
        server.mood().refuses_sessions = None;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(locks.session(), SessionState::Live, "{kind}");
        let opened = server.openings();
        drop(locks);
        server.mood().refuses_sessions = Some(kind);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(server.openings(), opened, "nobody uses it any more");
    }
}
