//! A process that has as many open files as it may. In a program of its own, because others would run out of them as well.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use lockcore::{DistributedLockExt, Effect, ErrorKind, LockService};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::{connect, directory, in_time};

#[tokio::test]
async fn a_process_without_a_file_to_spare_is_told_of_the_limit_and_goes_on_when_it_has_one() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..limit }).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match locks.exclusive(&format!("{}", held.len())).unwrap().try_acquire().await {
            Ok(guard) => held.push(guard.expect("nobody else has it")),
            Err(error) => break error,
        }
    };
    assert!(held.len() > 50, "{} held", held.len());
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Backend, Effect::None), "{error}");
    assert!(error.to_string().contains("`ulimit -n`") && error.is_retryable(), "{error:?}");

    let lock = locks.exclusive("another").unwrap();
    let waiting = tokio::spawn(async move { lock.acquire().await });
    let failed = locks.exclusive("a third").unwrap().try_acquire().await.expect_err("there still is none");
    assert!(failed.is_retryable(), "{failed:?}");
    assert!(!waiting.is_finished(), "it waits");
    held.clear();
    drop(in_time("the lock", waiting).await.unwrap().unwrap());
}
