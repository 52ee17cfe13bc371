//! Other processes, which can die.

use super::prelude::*;

trials!("processes", Processes: [
    a_killed_holder_makes_room,
]);

async fn a_killed_holder_makes_room(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let holder = context.fixture().holder().ok_or_else(|| Failure::new("the fixture has no holder"))?;
    let (holder, name) = (holder.clone(), context.name().to_owned());
    let mut process = tokio::task::spawn_blocking(move || holder.start(&name)).await??;
    check!(lock.try_acquire().await?.is_none(), "another process is not seen to hold");
    let waiting = context.enqueue(&lock, alice.options(), 1).await?;
    process.kill()?;
    let guard = context.granted_in_the_end(waiting).await?;
    check!(guard.fencing_token() > process.token, "the token fell from {} to {guard:?}", process.token);
    Ok(())
}
