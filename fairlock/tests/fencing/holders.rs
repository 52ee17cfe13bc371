//! Holders that write, of whom some are paused for longer than their session lasts, and then go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use backend_memory::Memory;
use fairlock::{DistributedLockExt, FencingToken, LockService};

/// Something that the lock protects.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// Writes under this token; whether the store took it.
    async fn write(&self, token: FencingToken, value: u64) -> bool;
}

const WRITES: usize = 10_000;
/// One holder writes so often.
const EACH: usize = 50;

/// What came of the writes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    writes: AtomicUsize,
    after_the_loss: AtomicUsize,
    refused: AtomicUsize,
    /// Refused although the holder still held.
    wronged: AtomicUsize,
    /// Taken although the write of a later holder had been taken before this one was sent.
    stale: AtomicUsize,
    /// The largest token of which a write was taken.
    largest: AtomicU64,
}

impl Tally {
    /// One write of a holder.
    async fn write(&self, store: &dyn Store, token: FencingToken, valid: bool) {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        self.after_the_loss.fetch_add(usize::from(!valid), Ordering::SeqCst);
        let before = self.largest.load(Ordering::SeqCst);
        if !store.write(token, number as u64).await {
            self.refused.fetch_add(1, Ordering::SeqCst);
            self.wronged.fetch_add(usize::from(valid), Ordering::SeqCst);
            return;
        }
        self.stale.fetch_add(usize::from(token.get() < before), Ordering::SeqCst);
        self.largest.fetch_max(token.get(), Ordering::SeqCst);
    }
}

/// Ten thousand writes of holders, one after another; every second is paused in the middle, and goes on beside the next.
pub(crate) async fn write_much(store: impl Store) -> Tally {
    let (store, tally) = (Arc::new(store), Arc::<Tally>::default());
    let memory = Memory::new();
    for round in 0..WRITES / EACH / 2 {
        let (client, next) = (memory.client(), memory.client());
        let (locks, others) = (client.connect().await.unwrap(), next.connect().await.unwrap());
        let guard = locks.exclusive("orders").unwrap().acquire().await.unwrap();
        for _ in 0..EACH / 2 {
            tally.write(&*store, guard.fencing_token(), guard.is_valid()).await;
        }
        let next = others.exclusive("orders").unwrap();
        let waiting = tokio::spawn(async move { next.acquire().await.unwrap() });
        // It is paused here, its session ends, and it does not look when it goes on.
        client.expire();
        let next = waiting.await.unwrap();
        let rest = write_on(store.clone(), tally.clone(), guard.fencing_token(), guard.is_valid(), EACH / 2);
        let writes = write_on(store.clone(), tally.clone(), next.fencing_token(), next.is_valid(), EACH);
        // Either both write at once, or the paused one comes when the next has written.
        if round % 2 == 0 {
            let rest = tokio::spawn(rest);
            writes.await;
            rest.await.unwrap();
        } else {
            writes.await;
            rest.await;
        }
    }
    Arc::into_inner(tally).unwrap()
}

async fn write_on(store: Arc<impl Store>, tally: Arc<Tally>, token: FencingToken, valid: bool, times: usize) {
    for _ in 0..times {
        tally.write(&*store, token, valid).await;
    }
}

/// No stale write was taken, no holder was wronged, and there were stale ones to refuse.
pub(crate) fn check(tally: &Tally) {
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    println!("{tally:?}");
    assert_eq!(count(&tally.writes), WRITES);
    assert!(count(&tally.after_the_loss) > 0, "nobody was paused");
    assert_eq!(count(&tally.stale), 0, "stale writes were taken");
    assert_eq!(count(&tally.wronged), 0, "writes of holders were refused");
    assert!(count(&tally.refused) > 0, "nothing was refused");
}

/// A store that does not look at the token.
struct Trusting;

#[async_trait]
impl Store for Trusting {
    async fn write(&self, _: FencingToken, _: u64) -> bool {
        tokio::task::yield_now().await;
        true
    }
}

/// Who checks nothing is found out.
#[tokio::test]
#[should_panic(expected = "stale writes were taken")]
async fn a_store_that_trusts_its_writers_is_found_out() {
    check(&write_much(Trusting).await);
}
