//! What a lock in memory costs, beside tokio's primitives in the same run: the ratio tells what the core costs on top of them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backend_memory::Memory;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lockcore::{DistributedLock, DistributedLockExt, LockService, Released};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, yield_now};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("the system has one")
}

/// A lock of a service of its own.
async fn lock(memory: &Memory) -> Arc<dyn DistributedLock> {
    let locks = memory.client().connect().await.expect("memory is there");
    locks.exclusive("orders/42").expect("it is a name")
}

async fn hold(lock: &dyn DistributedLock) {
    let guard = lock.acquire().await.expect("nothing goes wrong");
    assert_eq!(guard.release().await.expect("nothing goes wrong"), Released::Held);
}

/// A lock that nobody else wants.
fn free(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("free");
    let lock = runtime.block_on(lock(&Memory::new()));
    group.bench_function("fairlock", |b| {
        b.iter_custom(|times| runtime.block_on(timed(times, || hold(&*lock))));
    });
    let mutex = Mutex::new(());
    group.bench_function("tokio Mutex", |b| {
        b.iter_custom(|times| runtime.block_on(timed(times, async || drop(black_box(mutex.lock().await)))));
    });
    let semaphore = Semaphore::new(1);
    group.bench_function("tokio Semaphore", |b| {
        b.iter_custom(|times| {
            runtime.block_on(timed(times, async || drop(black_box(semaphore.acquire().await))))
        });
    });
}

async fn timed(times: u64, once: impl AsyncFn()) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        once().await;
    }
    start.elapsed()
}

/// From one task to the next, of so many that want it all the time.
fn hand_over(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("hand-over");
    for tasks in [2, 10, 200] {
        group.bench_function(BenchmarkId::new("fairlock", tasks), |b| {
            b.iter_custom(|times| runtime.block_on(fairlock(tasks, times)));
        });
        group.bench_function(BenchmarkId::new("tokio Mutex", tasks), |b| {
            b.iter_custom(|times| runtime.block_on(tokio_mutex(tasks, times)));
        });
    }
}

async fn fairlock(tasks: usize, times: u64) -> Duration {
    let memory = Memory::new();
    let first = lock(&memory).await;
    let guard = first.acquire().await.expect("nothing goes wrong");
    let mut contenders = JoinSet::new();
    let left = Arc::new(AtomicU64::new(times));
    for _ in 0..tasks {
        let (lock, left) = (lock(&memory).await, left.clone());
        contenders.spawn(async move {
            while takes_one(&left) {
                hold(&*lock).await;
            }
        });
    }
    while first.queue().await.expect("nothing goes wrong").len() <= tasks.min(times as usize) {
        yield_now().await;
    }
    let start = Instant::now();
    drop(guard);
    contenders.join_all().await;
    start.elapsed()
}

async fn tokio_mutex(tasks: usize, times: u64) -> Duration {
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.clone().lock_owned().await;
    let mut contenders = JoinSet::new();
    let left = Arc::new(AtomicU64::new(times));
    for _ in 0..tasks {
        let (mutex, left) = (mutex.clone(), left.clone());
        contenders.spawn(async move {
            while takes_one(&left) {
                drop(mutex.lock().await);
            }
        });
    }
    // All of them run before this one is polled again.
    yield_now().await;
    let start = Instant::now();
    drop(guard);
    contenders.join_all().await;
    start.elapsed()
}

/// Whether there was one left.
fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

criterion_group!(benches, free, hand_over);
criterion_main!(benches);
