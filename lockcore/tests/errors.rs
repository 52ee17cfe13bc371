//! Every error says what was being done, with which lock, and where.

mod fixture;

use std::error::Error as _;

use fixture::{GRANTED, LONG, PLACE, Server, exclusive, soon};
use lockcore::{AcquireOptions, DistributedLockExt, Error, ErrorKind, LockService, Loss, Released};

fn check(error: &Error, expected: &str) {
    assert_eq!(error.to_string().replace(PLACE, "P"), expected, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_told_with_operation_lock_and_place() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    server.mood().fails = Some(ErrorKind::PermissionDenied);
    let mood = "the server is in a bad mood";
    let permits = locks.semaphore("gpu", 2).unwrap();
    check(&lock.acquire().await.unwrap_err(), &format!("acquire lock \"a\" (P): {mood}"));
    check(&permits.try_acquire().await.unwrap_err(), &format!("acquire semaphore \"gpu\" (P): {mood}"));
    check(&lock.queue().await.unwrap_err(), &format!("read the queue of lock \"a\" (P): {mood}"));
    check(&lock.acquirable().await.unwrap_err(), &format!("look at lock \"a\" (P): {mood}"));
    check(&guard.verify().await.unwrap_err(), &format!("verify lock \"a\" (P): {mood}"));
    check(&guard.release().await.unwrap_err(), &format!("release lock \"a\" (P): {mood}"));
    check(&locks.names().await.unwrap_err(), &format!("list all locks (P): {mood}"));
    assert_eq!(locks.to_string(), PLACE);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_in_vain_is_told_with_operation_lock_and_place() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let none = lock.acquire_with(&AcquireOptions::new().with_permits(0)).await.unwrap_err();
    check(&none, "acquire lock \"a\" (P): 0 permits asked for, but it has 1: ask for 1 to 1");
    let zero = locks.semaphore("gpu", 0).unwrap_err();
    check(&zero, "semaphore \"gpu\" with 0 permits: a semaphore has from 1 to 4294967294");
    let _two = locks.semaphore("gpu", 2).unwrap().acquire().await.unwrap();
    let three = locks.semaphore("gpu", 3).unwrap().acquire().await.unwrap_err();
    let text = "acquire semaphore \"gpu\" (P): it is in use with 2 permits, not 3: all who use it have to agree on their number";
    check(&three, text);
    server.mood().silent = true;
    let silent = lock.try_acquire().await.unwrap_err();
    assert!(silent.to_string().starts_with("acquire lock \"a\" ("), "{silent}");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_with_lock_and_place_and_what_to_do() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let guard = lock.acquire().await.unwrap();
    let lost = guard.protect(std::future::pending::<()>()).await.unwrap_err();
    let loss = "the server was out of reach for longer than the session lasts: acquire again; \
                a longer session_timeout= outlives longer interruptions";
    check(&lost, &format!("work under lock \"a\" (P): {loss}"));
    assert_eq!(lost.loss(), Some(Loss::Deadline));
    check(&guard.verify().await.unwrap_err(), &format!("verify lock \"a\" (P): {loss}"));
    let released = guard.release().await.unwrap();
    assert_eq!(released, Released::Lost(Loss::Deadline));
    assert_eq!(released.to_string(), "lost: the server was out of reach for longer than the session lasts");

    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let removed = lock.with(|_| async { server.wipe() }).await.unwrap_err();
    let advice = "acquire it again, unless somebody removed it on purpose";
    check(&removed, &format!("work under lock \"a\" (P): the entry was removed from the queue: {advice}"));
}

/// Several who wait for one session get the same error, and each adds what it did.
#[tokio::test(start_paused = true)]
async fn a_shared_error_is_told_once_to_each() {
    let server = Server::new(Some(GRANTED));
    let (locks, lock) = exclusive(&server).await;
    server.mood().refuses_sessions = Some(ErrorKind::PermissionDenied);
    soon("the session is lost", lock.acquire().await.unwrap().lost()).await;
    tokio::time::sleep(LONG).await;
    let (acquired, names) = tokio::join!(lock.acquire(), locks.names());
    check(&acquired.unwrap_err(), "acquire lock \"a\" (P): no session for you");
    let names = names.unwrap_err();
    check(&names, "list all locks (P): no session for you");
    assert!(names.source().is_none(), "{names:?}");
}
