//! An acquisition that is dropped, anywhere, leaves nothing behind.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::prelude::*;

trials!("cancellation", Clients: [
    nothing_happens_before_the_first_poll,
    dropped_after_any_number_of_polls,
    dropped_waiter_after_any_number_of_polls,
    the_handle_works_afterwards,
    cancel_races_with_the_grant,
    a_thousand_drops_leave_the_survivor,
]);

/// The output of the future, or `None` if it is not ready after this many polls; it is dropped then.
pub(super) async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn nothing_happens_before_the_first_poll(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let unpolled = lock.acquire();
    check!(lock.queue().await?.is_empty(), "an entry was made before the first poll");
    drop(unpolled);
    check!(lock.queue().await?.is_empty(), "an unpolled acquisition left an entry");
    Ok(())
}

async fn dropped_after_any_number_of_polls(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    for polls in 0.. {
        let granted = poll_at_most(polls, a.acquire()).await.transpose()?.is_some();
        // The request may still be under way: who comes now may have to wait for it to be undone.
        let next = b.acquire_timeout(context.patience()).await?;
        check!(next.is_some(), "not free after {polls} polls");
        drop(next);
        context.until_empty(&*b).await?;
        if granted {
            break;
        }
    }
    Ok(())
}

async fn dropped_waiter_after_any_number_of_polls(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    for polls in 0.. {
        let guard = a.acquire().await?;
        let waiting = {
            let b = b.clone();
            tokio::spawn(async move { poll_at_most(polls, b.acquire()).await.transpose() })
        };
        let behind = async || Ok(waiting.is_finished() || a.queue().await?.len() == 2);
        context.until("the waiter is queued, or gone", behind).await?;
        let last = {
            let a = a.clone();
            tokio::spawn(async move { a.acquire_with(&AcquireOptions::new()).await })
        };
        drop(guard);
        let granted = tokio::time::timeout(context.patience(), waiting).await???.is_some();
        drop(context.granted(last).await?);
        context.until_empty(&*a).await?;
        if granted {
            break;
        }
    }
    Ok(())
}

async fn the_handle_works_afterwards(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    context.enqueue(&b, bob.options(), 1).await?.abort();
    context.until_queue(&*a, "the waiter is gone", |queue| queue.len() == 1).await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn cancel_races_with_the_grant(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    for round in 0..50u64 {
        let guard = a.acquire().await?;
        let waiting = context.enqueue(&b, bob.options(), 1).await?;
        let last = context.enqueue(&a, alice.options(), 2).await?;
        let release = tokio::spawn(guard.release());
        tokio::time::sleep(Duration::from_micros(100 * (round % 20))).await;
        waiting.abort();
        // Whoever won, the guard (if there is one) goes with the task's result.
        drop(waiting.await);
        let released = release.await??;
        check!(released == Released::Held, "released: {released:?}");
        drop(context.granted(last).await?);
        context.until_empty(&*a).await?;
    }
    Ok(())
}

async fn a_thousand_drops_leave_the_survivor(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let spawn = |_| {
        let a = a.clone();
        tokio::spawn(async move { a.acquire_with(&AcquireOptions::new()).await })
    };
    let crowd: Vec<_> = (0..1000).map(spawn).collect();
    context.until_queue(&*b, "all wait", |queue| queue.len() == 1001).await?;
    let survivor = context.enqueue(&b, bob.options(), 1001).await?;
    crowd.iter().for_each(|waiting| waiting.abort());
    drop(guard);
    drop(context.granted(survivor).await?);
    context.until_empty(&*b).await
}
