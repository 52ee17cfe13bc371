//! Several locks at once: all or none, and nobody waits for somebody who waits for him.

use std::sync::Arc;

use lockcore::{LockServiceExt, LockSet};
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use super::prelude::*;
use crate::context::Party;
use crate::history::{Holding, Recorder};

trials!("several", Clients: [
    crossing_orders_never_deadlock,
    all_or_nothing,
    one_deadline_for_all,
    permits_are_asked_for_with_each_lock,
    one_queue_twice_is_refused,
], Network: [
    the_guard_is_lost_when_any_is,
    what_is_lost_while_others_are_waited_for_is_taken_anew,
], Operator: [
    one_entry_that_is_removed_is_the_loss_of_all,
]);

const LOCKS: usize = 6;

fn name(context: &Context, number: usize) -> String {
    format!("{}/{number}", context.name())
}

/// A task of the crowd: random locks, in a random order, some to read and some to write.
async fn one_of_the_crowd(context: Context, locks: Arc<dyn LockService>, history: Arc<Recorder>) -> Verdict {
    for _ in 0..5 {
        let mut chosen: Vec<usize> = (0..LOCKS).collect();
        chosen.shuffle(&mut rand::rng());
        chosen.truncate(rand::rng().random_range(1..=LOCKS));
        let lock = |number: &usize| match rand::rng().random_bool(0.5) {
            true => locks.exclusive(&name(&context, *number)),
            false => locks.shared(&name(&context, *number)),
        };
        let set: Vec<_> = chosen.iter().map(lock).collect::<lockcore::Result<_>>()?;
        let guard = locks.all(&set)?.acquire().await?;
        let one = |(lock, guard): (&Arc<dyn DistributedLock>, _)| history.granted(&**lock, 1, guard);
        let holds: Vec<Holding> = set.iter().zip(guard.guards()).map(one).collect();
        tokio::time::sleep(Duration::from_micros(200)).await;
        let valid = guard.is_valid();
        holds.into_iter().for_each(|hold| hold.ends(valid));
        let released = guard.release().await?;
        // A machine that is busy enough can cost a session, which is no matter of order.
        let in_time = !matches!(released, Released::Lost(Loss::Removed | Loss::Closed));
        check!(in_time, "released: {released:?}");
    }
    Ok(())
}

async fn crossing_orders_never_deadlock(context: Context) -> Verdict {
    let clients = [context.client().await?, context.client().await?, context.client().await?];
    let history = Arc::new(Recorder::default());
    let task = |number: usize| {
        let locks = clients[number % clients.len()].locks.clone();
        tokio::spawn(one_of_the_crowd(context.clone(), locks, history.clone()))
    };
    for task in (0..20).map(task).collect::<Vec<_>>() {
        let ended = tokio::time::timeout(2 * context.patience(), task).await;
        ended.map_err(|_| Failure::new("they wait for each other"))???;
    }
    history.check()
}

/// Two locks of this client, together.
fn two(context: &Context, client: &Party) -> Result<LockSet, Failure> {
    let [one, other] = [1, 2].map(|number| client.locks.exclusive(&name(context, number)));
    Ok(client.locks.all([&one?, &other?])?)
}

async fn all_or_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (first, second) =
        (bob.locks.exclusive(&name(&context, 1))?, bob.locks.exclusive(&name(&context, 2))?);
    let busy = second.acquire().await?;
    let set = two(&context, &alice)?;
    check!(set.try_acquire().await?.is_none(), "had, although one of them is held");
    context.until_empty(&*first).await?;
    check!(set.acquire_timeout(Duration::from_millis(50)).await?.is_none(), "had, although one is held");
    context.until_empty(&*first).await?;
    context.until_queue(&*second, "only the holder is there", |queue| queue.len() == 1).await?;
    drop(busy);
    let guard = set.acquire().await?;
    check!(first.try_acquire().await?.is_none(), "the first is free for others");
    check!(second.try_acquire().await?.is_none(), "the second is free for others");
    let tokens = guard.fencing_tokens();
    let shown = [first.queue().await?[0].token, second.queue().await?[0].token];
    check!(tokens == shown, "tokens {tokens:?} instead of {shown:?}");
    drop(guard);
    context.until_empty(&*first).await?;
    context.until_empty(&*second).await
}

/// Each of the two is free for a part of the time only.
async fn one_deadline_for_all(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (first, second) =
        (bob.locks.exclusive(&name(&context, 1))?, bob.locks.exclusive(&name(&context, 2))?);
    let (one, other) = (first.acquire().await?, second.acquire().await?);
    let set = two(&context, &alice)?;
    let (limit, began) = (Duration::from_secs(3), Instant::now());
    let waiting = tokio::spawn(async move { set.acquire_timeout(limit).await });
    context.until_queue(&*first, "it waits for the first", |queue| queue.len() == 2).await?;
    tokio::time::sleep(limit / 2).await;
    drop(one);
    context.until_queue(&*second, "it waits for the second", |queue| queue.len() == 2).await?;
    let had = tokio::time::timeout(context.patience(), waiting).await???;
    let took = began.elapsed();
    check!(had.is_none(), "had, although one of them is held");
    check!(took >= limit, "ended after {took:?}");
    // A limit for each of them would end half of it later.
    check!(took < limit.mul_f64(1.5), "ended only after {took:?}");
    drop(other);
    context.until_empty(&*first).await
}

async fn permits_are_asked_for_with_each_lock(context: Context) -> Verdict {
    let alice = context.client().await?;
    let (lock, gpu) = (alice.locks.exclusive(context.name())?, alice.locks.semaphore(context.name(), 4)?);
    let guard = alice.locks.all([(&gpu, 3), (&lock, 1)])?.acquire().await?;
    let shown = gpu.queue().await?[0].kind;
    check!(shown == lockcore::EntryKind::Permits { permits: 3, limit: 4 }, "asked for {shown:?}");
    let options = AcquireOptions::new().with_permits(2);
    let refused = alice.locks.all([&gpu])?.acquire_with(&options).await;
    check!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "permits of no lock");
    drop(guard);
    Ok(())
}

async fn one_queue_twice_is_refused(context: Context) -> Verdict {
    let alice = context.client().await?;
    let (exclusive, shared) = (alice.locks.exclusive(context.name())?, alice.locks.shared(context.name())?);
    for set in [[&exclusive, &exclusive], [&exclusive, &shared]] {
        let refused = alice.locks.all(set);
        check!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "it waits for itself");
    }
    let none: [&Arc<dyn DistributedLock>; 0] = [];
    check!(alice.locks.all(none).is_err(), "no locks at once");
    Ok(())
}

async fn the_guard_is_lost_when_any_is(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, his) = (alice.locks.exclusive(&name(&context, 1))?, bob.locks.exclusive(&name(&context, 2))?);
    let guard = LockSet::new([&hers, &his])?.acquire().await?;
    check!(guard.is_valid(), "lost from the beginning");
    bob.network()?.cut();
    let loss = tokio::time::timeout(context.patience(), guard.lost()).await?;
    check!(matches!(loss, Loss::Deadline | Loss::Expired), "lost because {loss}");
    check!(!guard.is_valid(), "lost, and still valid");
    let ended = guard.protect(std::future::pending::<()>()).await;
    check!(ended.is_err_and(|error| error.kind() == ErrorKind::SessionLost), "the work goes on");
    let released = guard.release().await?;
    check!(matches!(released, Released::Lost(_)), "released: {released:?}");
    let again = alice.locks.exclusive(&name(&context, 1))?.acquire_timeout(context.patience()).await?;
    check!(again.is_some(), "the other one is not given back");
    Ok(())
}

async fn what_is_lost_while_others_are_waited_for_is_taken_anew(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (first, second) =
        (bob.locks.exclusive(&name(&context, 1))?, bob.locks.exclusive(&name(&context, 2))?);
    let busy = second.acquire().await?;
    let set = two(&context, &alice)?;
    let waiting = tokio::spawn(async move { set.acquire().await });
    context.until_queue(&*second, "it waits for the second", |queue| queue.len() == 2).await?;
    let before = first.queue().await?[0].token;
    alice.network()?.cut();
    context.until_empty(&*first).await?;
    alice.network()?.heal();
    context.until_queue(&*first, "it has the first again", |queue| queue.len() == 1).await?;
    context.until_queue(&*second, "it waits again", |queue| queue.len() == 2).await?;
    drop(busy);
    let guard = tokio::time::timeout(context.patience(), waiting).await???;
    check!(guard.is_valid(), "had, and lost");
    let token = guard.fencing_tokens()[0];
    check!(token > before, "the lost hold counts: token {token} after {before}");
    guard.verify().await?;
    Ok(())
}

async fn one_entry_that_is_removed_is_the_loss_of_all(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = two(&context, &alice)?.acquire().await?;
    let lock = alice.locks.exclusive(&name(&context, 1))?;
    let entry = lock.queue().await?.entries.remove(0);
    let key = lockcore::LockKey { family: entry.kind.family(), name: lock.name().clone() };
    let operator = context.fixture().operator();
    operator
        .ok_or_else(|| Failure::new("the fixture has no operator"))?
        .remove_entry(&key, &entry.id)
        .await?;
    let loss = tokio::time::timeout(context.patience(), guard.lost()).await?;
    check!(loss == Loss::Removed, "lost because {loss}");
    let released = guard.release().await?;
    check!(released == Released::Lost(Loss::Removed), "released: {released:?}");
    Ok(())
}
