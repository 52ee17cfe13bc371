//! The gate for what a process guards itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fairlock::FencingToken;
use fairlock::fencing::{Refused, TokenGate};
use futures::FutureExt;

use crate::holders::{Store, check, write_much};

fn token(value: u64) -> FencingToken {
    FencingToken::new(value)
}

/// A device that takes a while, and says if two were at it at once.
#[derive(Default)]
struct Device {
    gate: TokenGate,
    busy: AtomicU64,
}

#[async_trait]
impl Store for Device {
    async fn write(&self, token: FencingToken, _: u64) -> bool {
        let Ok(_pass) = self.gate.enter(token).await else { return false };
        let before = self.busy.swap(token.get(), Ordering::SeqCst);
        assert!(before == 0 || before == token.get(), "{before} and {token} write at once");
        tokio::task::yield_now().await;
        self.busy.store(0, Ordering::SeqCst);
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_takes_no_stale_write() {
    check(&write_much(Device::default()).await);
}

#[test]
fn smaller_tokens_are_refused() {
    let gate = TokenGate::new();
    assert_eq!(gate.largest(), None);
    gate.admit(token(5)).unwrap();
    gate.admit(token(5)).unwrap();
    let refused = gate.admit(token(4)).unwrap_err();
    assert!(matches!(refused, Refused::Stale { largest, .. } if largest == token(5)), "{refused}");
    gate.admit(token(6)).unwrap();
    assert_eq!(gate.largest(), Some(token(6)));
}

/// The next holder waits for those inside; the former one is refused meanwhile, and so is one that waited too long.
#[test]
fn the_next_holder_waits_until_the_former_is_out() {
    let gate = TokenGate::new();
    let (one, other) =
        (gate.enter_blocking(token(1)).unwrap(), gate.enter(token(1)).now_or_never().unwrap().unwrap());
    let (mut second, mut third) = (Box::pin(gate.enter(token(2))), Box::pin(gate.enter(token(3))));
    assert!((&mut second).now_or_never().is_none());
    assert!(gate.admit(token(1)).is_err());
    drop(one);
    assert!((&mut second).now_or_never().is_none(), "one is still inside");
    assert!((&mut third).now_or_never().is_none());
    drop(other);
    let refused = second.now_or_never().unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Stale { .. }), "{refused}");
    drop(third.now_or_never().unwrap().unwrap());
}

#[test]
fn threads_wait_as_well() {
    let gate = TokenGate::new();
    let pass = gate.enter_blocking(token(1)).unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| gate.enter_blocking(token(2)).map(drop));
        while gate.largest() != Some(token(2)) {
            std::thread::yield_now();
        }
        assert!(!next.is_finished());
        drop(pass);
        next.join().unwrap().unwrap();
    });
}

#[test]
fn a_token_is_saved_before_anything_is_done_under_it() {
    let saved = Arc::<Mutex<Vec<u64>>>::default();
    let (log, mut fails) = (saved.clone(), true);
    let gate = TokenGate::persistent(Some(token(7)), move |token| {
        fails = !fails;
        if fails {
            return Err(std::io::Error::other("the disk is full"));
        }
        log.lock().unwrap().push(token.get());
        Ok(())
    });
    assert!(gate.admit(token(6)).is_err());
    gate.admit(token(7)).unwrap();
    gate.admit(token(8)).unwrap();
    assert!(matches!(gate.admit(token(9)).unwrap_err(), Refused::NotSaved(_)));
    assert_eq!(gate.largest(), Some(token(8)));
    gate.admit(token(8)).unwrap();
    gate.admit(token(9)).unwrap();
    assert_eq!(*saved.lock().unwrap(), [8, 9], "once for each holder");
}

#[test]
fn a_file_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders.token");
    TokenGate::in_file(&path).unwrap().admit(token(u64::MAX)).unwrap();
    let again = TokenGate::in_file(&path).unwrap();
    assert_eq!(again.largest(), Some(token(u64::MAX)));
    assert!(again.admit(token(u64::MAX - 1)).is_err());
    std::fs::write(&path, "no token").unwrap();
    let error = TokenGate::in_file(&path).unwrap_err();
    assert!(error.to_string().contains("orders.token holds no fencing token"), "{error}");
}
