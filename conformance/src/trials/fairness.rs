//! Grants follow the order in which the server accepted the entries.

use super::prelude::*;

trials!("fairness", Clients: [
    grants_follow_the_queue,
    departure_of_a_waiter_lets_nobody_in,
    a_try_does_not_overtake,
    the_last_of_many_is_granted_in_turn,
]);

async fn grants_follow_the_queue(context: Context) -> Verdict {
    let keeper = context.client().await?;
    let lock = keeper.locks.exclusive(context.name())?;
    let mut guard = lock.acquire().await?;
    let (mut clients, mut waiting) = (Vec::new(), Vec::new());
    for ahead in 1..6 {
        let client = context.client().await?;
        let lock = client.locks.exclusive(context.name())?;
        waiting.push(context.enqueue(&lock, client.options(), ahead).await?);
        clients.push(client);
    }
    for next in waiting {
        check!(!next.is_finished(), "somebody was granted before his turn");
        let last = guard.fencing_token();
        drop(guard);
        guard = context.granted(next).await?;
        check!(guard.fencing_token() > last, "the token fell from {last} to {}", guard.fencing_token());
    }
    Ok(())
}

async fn departure_of_a_waiter_lets_nobody_in(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let [a, b, c] = [&alice, &bob, &carol].map(|client| client.locks.exclusive(context.name()));
    let (a, b, c) = (a?, b?, c?);
    let guard = a.acquire().await?;
    let middle = context.enqueue(&b, bob.options(), 1).await?;
    let last = context.enqueue(&c, carol.options(), 2).await?;
    middle.abort();
    context.until_queue(&*a, "the middle waiter is gone", |queue| queue.len() == 2).await?;
    // Carol, who watched Bob, has been woken. Somebody who comes later sees her wait, and so does the server.
    check!(b.try_acquire().await?.is_none(), "a new try succeeded beside a holder");
    guard.verify().await?;
    check!(!last.is_finished(), "a wake-up was taken for a grant");
    drop(guard);
    drop(context.granted(last).await?);
    Ok(())
}

async fn a_try_does_not_overtake(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let [a, b, c] = [&alice, &bob, &carol].map(|client| client.locks.exclusive(context.name()));
    let (a, b, c) = (a?, b?, c?);
    let guard = a.acquire().await?;
    let next = context.enqueue(&b, bob.options(), 1).await?;
    let release = tokio::spawn(guard.release());
    for _ in 0..20 {
        check!(c.try_acquire().await?.is_none(), "a try overtook a waiter");
    }
    let released = release.await??;
    check!(released == Released::Held, "released: {released:?}");
    drop(context.granted(next).await?);
    context.until_empty(&*c).await
}

async fn the_last_of_many_is_granted_in_turn(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (to_alice, to_bob) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = to_alice.acquire().await?;
    let mut waiting = Vec::new();
    for ahead in 1..21 {
        waiting.push(context.enqueue(&to_alice, alice.options(), ahead).await?);
    }
    let last = context.enqueue(&to_bob, bob.options(), 21).await?;
    drop(guard);
    for next in waiting {
        check!(!last.is_finished(), "the last one was granted before others");
        drop(context.granted(next).await?);
    }
    drop(context.granted(last).await?);
    Ok(())
}
