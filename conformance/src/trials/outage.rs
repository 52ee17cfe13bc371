//! Waits keep their word while no server can be reached.
#![expect(clippy::future_not_send, reason = "trials stay on the thread that blocks on them")]

use std::sync::Arc;

use tokio::time::Instant;

use super::prelude::*;
use crate::context::{Party, Waiting};
use crate::fixture::Mortal;

trials!("outage", Network: [
    a_wait_that_begins_while_cut_off_goes_on,
    a_waiter_that_loses_its_session_goes_on,
    a_lock_that_is_free_since_a_long_outage_is_had,
    a_limit_that_ends_while_cut_off_is_kept,
    a_limit_that_outlasts_the_outage_is_of_use,
    a_try_that_is_cut_off_is_answered,
    a_try_that_outlasts_a_short_outage_takes_a_free_lock,
], Servers: [
    waits_outlast_the_death_of_the_server,
    a_queue_outlasts_the_death_of_the_server,
]);

/// Longer than connecting takes by default: a wait must not end with an attempt to connect.
const LIMIT: Duration = Duration::from_secs(6);

async fn a_wait_that_begins_while_cut_off_goes_on(context: Context) -> Verdict {
    let alice = context.client().await?;
    let (held, lock) = (alice.locks.exclusive(&other(&context))?, alice.locks.exclusive(context.name())?);
    let held = held.acquire().await?;
    alice.network()?.cut();
    let waiting = start(&lock, alice.options());
    // Until the session is over, and the next cannot be opened.
    tokio::time::timeout(context.patience(), held.lost()).await?;
    tokio::time::sleep(LIMIT).await;
    check!(!waiting.is_finished(), "the wait ended for want of a server: {:?}", waiting.await);
    alice.network()?.heal();
    drop(context.granted_in_the_end(waiting).await?);
    Ok(())
}

/// Another lock's guard tells when the session is lost.
fn other(context: &Context) -> String {
    format!("{}/other", context.name())
}

fn start(lock: &Arc<dyn DistributedLock>, options: AcquireOptions) -> Waiting {
    let lock = lock.clone();
    tokio::spawn(async move { lock.acquire_with(&options).await })
}

/// Puts Bob behind a holder, and cuts him off for longer than his session lives.
async fn cut_off_in_the_queue(
    context: &Context,
    bob: &Party,
    holder: &Arc<dyn DistributedLock>,
) -> Result<Waiting, Failure> {
    let held = bob.locks.exclusive(&other(context))?.acquire().await?;
    let lock = bob.locks.exclusive(context.name())?;
    let waiting = context.enqueue_unanswered(&lock, bob.options(), holder, 1).await?;
    bob.network()?.cut();
    tokio::time::timeout(context.patience(), held.lost()).await?;
    context.until_queue(&**holder, "the lost entry is gone", |queue| queue.len() == 1).await?;
    check!(!waiting.is_finished(), "the wait ended with its session: {:?}", waiting.await);
    Ok(waiting)
}

async fn a_waiter_that_loses_its_session_goes_on(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let (a, c) = (alice.locks.exclusive(context.name())?, carol.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let cut_off = cut_off_in_the_queue(&context, &bob, &a).await?;
    let next = context.enqueue(&c, carol.options(), 1).await?;
    bob.network()?.heal();
    context.until_queue(&*a, "the waiter is queued again", |queue| queue.len() == 3).await?;
    let queue = a.queue().await?;
    check!(queue[1].label == carol.label && queue[2].label == bob.label, "not behind all others: {queue:?}");
    drop(guard);
    drop(context.granted(next).await?);
    drop(context.granted(cut_off).await?);
    Ok(())
}

async fn a_lock_that_is_free_since_a_long_outage_is_had(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let a = alice.locks.exclusive(context.name())?;
    let guard = a.acquire().await?;
    let cut_off = cut_off_in_the_queue(&context, &bob, &a).await?;
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    bob.network()?.heal();
    drop(context.granted_in_the_end(cut_off).await?);
    Ok(())
}

async fn a_limit_that_ends_while_cut_off_is_kept(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    alice.network()?.cut();
    keeps_its_limit(&lock).await?;
    alice.network()?.heal();
    context.until_empty(&*lock).await
}

/// Nobody answers: neither too early nor as if others had been first.
async fn keeps_its_limit(lock: &Arc<dyn DistributedLock>) -> Verdict {
    let begun = Instant::now();
    let ended = lock.acquire_timeout(LIMIT).await;
    check!(begun.elapsed() >= LIMIT, "ended after {:?}: {ended:?}", begun.elapsed());
    is_unreachable(ended)
}

fn is_unreachable(ended: lockcore::Result<Option<lockcore::LockGuard>>) -> Verdict {
    match ended {
        Err(error) if error.kind() == ErrorKind::Unreachable && error.is_retryable() => Ok(()),
        ended => Err(Failure::new(format!("nobody could be asked, and yet: {ended:?}"))),
    }
}

async fn a_limit_that_outlasts_the_outage_is_of_use(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    alice.network()?.cut();
    let waiting = start(&lock, alice.options().with_wait(Wait::For(context.patience())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    alice.network()?.heal();
    drop(context.granted_in_the_end(waiting).await?);
    Ok(())
}

async fn a_try_that_is_cut_off_is_answered(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    alice.network()?.cut();
    is_unreachable(tokio::time::timeout(context.patience(), lock.try_acquire()).await?)?;
    alice.network()?.heal();
    context.until_empty(&*lock).await
}

async fn a_try_that_outlasts_a_short_outage_takes_a_free_lock(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    alice.network()?.cut();
    let trying = start(&lock, alice.options().with_wait(Wait::Never));
    tokio::time::sleep(Duration::from_millis(200)).await;
    alice.network()?.heal();
    drop(context.granted(trying).await?);
    Ok(())
}

async fn server(context: &Context) -> Result<Box<dyn Mortal>, Failure> {
    let servers = context.fixture().servers().ok_or_else(|| Failure::new("the fixture has no servers"))?;
    Ok(servers.start().await?)
}

async fn waits_outlast_the_death_of_the_server(context: Context) -> Verdict {
    let server = server(&context).await?;
    let locks = context.fixture().client_at(server.address()).await?;
    let lock = locks.exclusive(context.name())?;
    drop(lock.acquire().await?);
    server.kill()?;
    let waiting = start(&lock, AcquireOptions::new());
    is_unreachable(tokio::time::timeout(context.patience(), lock.try_acquire()).await?)?;
    keeps_its_limit(&lock).await?;
    check!(!waiting.is_finished(), "the wait ended for want of a server: {:?}", waiting.await);
    server.restart().await?;
    drop(context.granted_in_the_end(waiting).await?);
    Ok(())
}

/// Whether the locks survive depends on the server; that whoever waits is let in in the end does not.
async fn a_queue_outlasts_the_death_of_the_server(context: Context) -> Verdict {
    let server = server(&context).await?;
    let (alice, bob) = (
        context.fixture().client_at(server.address()).await?,
        context.fixture().client_at(server.address()).await?,
    );
    let (a, b) = (alice.exclusive(context.name())?, bob.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, AcquireOptions::new(), 1).await?;
    server.kill()?;
    server.restart().await?;
    tokio::time::sleep(context.fixture().session_timeout()).await;
    drop(guard);
    drop(context.granted_in_the_end(waiting).await?);
    context.until_empty(&*a).await
}
