//! The spans of a lock, and the names of their fields, which `docs/observability.md` promises.

mod fixture;

use std::time::Duration;

use fixture::{PLACE, Server, exclusive, spans};
use lockcore::{AcquireOptions, DistributedLockExt, LockGuard, Released, Wait};
use tokio::time::sleep;

/// What the span of this name was told before it ended.
fn fields<'s>(said: &'s str, span: &str) -> &'s str {
    let begin = format!("{span}{{");
    let lines = || said.lines().filter(|line| line.contains("close"));
    let own = lines().find_map(|line| Some(line.rsplit_once(&begin)?.1.split_once('}')?.0));
    own.unwrap_or_else(|| panic!("{span} did not end: {said}"))
}

#[tokio::test(start_paused = true)]
async fn acquiring_holding_and_releasing_are_spans_with_the_promised_fields() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let ((), said) = spans(async {
        let options = AcquireOptions::new().with_label("nightly");
        let guard = lock.acquire_with(&options).await.unwrap().unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
    })
    .await;
    let place = format!("fairlock.backend=\"{PLACE}\"");
    let everywhere = ["lock.name=\"a\"", "lock.token=", &place];
    let owner = ["lock.kind=exclusive", "lock.label=\"nightly\""];
    for (span, expected) in [
        ("fairlock.acquire", [&everywhere[..], &owner, &["wait_ms="]].concat()),
        ("fairlock.hold", [&everywhere[..], &owner].concat()),
        ("fairlock.release", everywhere.to_vec()),
    ] {
        let fields = fields(&said, span);
        let missing: Vec<_> = expected.iter().filter(|field| !fields.contains(**field)).collect();
        assert!(missing.is_empty(), "{span} does not tell {missing:?}: {fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_lock_there_is_no_token_and_no_hold() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    let (had, said) =
        spans(lock.acquire_with(&AcquireOptions::new().with_wait(Wait::For(Duration::from_secs(3))))).await;
    assert!(had.unwrap().is_none());
    let fields = fields(&said, "fairlock.acquire");
    assert!(fields.contains("wait_ms=") && !fields.contains("lock.token"), "{fields}");
    assert!(!said.contains("fairlock.hold"), "{said}");
}

#[test]
fn guards_can_go_to_other_tasks_and_stay_there() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<LockGuard>();
}
