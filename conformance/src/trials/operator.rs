//! An entry that is removed by hand: its owner is told, others go on.

use lockcore::EntryId;

use super::prelude::*;
use crate::fixture::Operator;

trials!("operator", Operator: [
    a_removed_holder_is_told,
    a_removed_waiter_is_told,
    a_release_says_that_the_entry_had_been_removed,
], Clients: [
    any_client_can_remove_a_holder,
    any_client_can_remove_a_waiter,
    an_entry_that_is_not_there_is_not_removed,
]);

fn operator(context: &Context) -> Result<&dyn Operator, Failure> {
    context.fixture().operator().ok_or_else(|| Failure::new("the fixture has no operator"))
}

async fn a_removed_holder_is_told(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let entry = a.queue().await?.entries.remove(0);
    operator(&context)?.remove_entry(&context.key(entry.kind)?, &entry.id).await?;
    let next = context.granted(waiting).await?;
    let told = tokio::time::timeout(context.patience(), guard.lost()).await;
    let loss = told.map_err(|_| Failure::new("the holder is never told"))?;
    check!(loss == Loss::Removed, "lost because {loss}");
    check!(guard.verify().await.is_err_and(|error| error.kind() == ErrorKind::EntryRemoved), "verified");
    let released = guard.release().await?;
    check!(released == Released::Lost(Loss::Removed), "released: {released:?}");
    next.verify().await?;
    Ok(())
}

async fn a_removed_waiter_is_told(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let entry = a.queue().await?.entries.remove(1);
    operator(&context)?.remove_entry(&context.key(entry.kind)?, &entry.id).await?;
    drop(guard);
    context.until_empty(&*a).await?;
    match tokio::time::timeout(context.patience(), waiting).await?? {
        Err(error) => check!(error.kind() == ErrorKind::EntryRemoved, "not told what happened: {error:?}"),
        Ok(got) => check!(false, "no error, but {got:?}"),
    }
    Ok(())
}

/// Before the owner could notice it by himself.
async fn a_release_says_that_the_entry_had_been_removed(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let guard = lock.acquire().await?;
    let entry = lock.queue().await?.entries.remove(0);
    operator(&context)?.remove_entry(&context.key(entry.kind)?, &entry.id).await?;
    let released = guard.release().await?;
    check!(released == Released::Lost(Loss::Removed), "released: {released:?}");
    Ok(())
}

async fn any_client_can_remove_a_holder(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let operator = context.client().await?;
    for semaphore in [false, true] {
        let lock = |locks: &dyn LockService| match semaphore {
            true => locks.semaphore(context.name(), 1),
            false => locks.exclusive(context.name()),
        };
        let (a, b, queue) = (lock(&*alice.locks)?, lock(&*bob.locks)?, lock(&*operator.locks)?);
        let guard = a.acquire().await?;
        let waiting = context.enqueue(&b, bob.options(), 1).await?;
        let holder = queue.queue().await?.entries.remove(0);
        check!(holder.id == *guard.id(), "the guard says that it is {}, the queue {}", guard.id(), holder.id);
        check!(queue.evict(&holder.id).await?, "the holder was not there");
        let next = context.granted(waiting).await?;
        let told = tokio::time::timeout(context.patience(), guard.lost()).await;
        let loss = told.map_err(|_| Failure::new("the holder is never told"))?;
        check!(loss == Loss::Removed, "lost because {loss}");
        drop(guard);
        next.verify().await?;
        drop(next);
        context.until_empty(&*queue).await?;
    }
    Ok(())
}

async fn any_client_can_remove_a_waiter(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let waiter = a.queue().await?.entries.remove(1);
    check!(a.evict(&waiter.id).await?, "the waiter was not there");
    check!(!a.evict(&waiter.id).await?, "removed twice");
    guard.verify().await?;
    drop(guard);
    context.until_empty(&*a).await?;
    let told = tokio::time::timeout(context.patience(), waiting).await??;
    check!(told.is_err_and(|error| error.kind() == ErrorKind::EntryRemoved), "the waiter is not told");
    Ok(())
}

async fn an_entry_that_is_not_there_is_not_removed(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    check!(!b.evict(&EntryId::random()).await?, "removed from an unused lock");
    let guard = a.acquire().await?;
    check!(!b.evict(&EntryId::random()).await?, "removed, although nobody is called like that");
    let elsewhere = bob.locks.exclusive(&format!("{}-other", context.name()))?;
    check!(!elsewhere.evict(guard.id()).await?, "removed from another lock");
    guard.verify().await?;
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    Ok(())
}
