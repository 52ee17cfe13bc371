//! Other processes, which can die.

use super::prelude::*;
use crate::process::HolderProcess;

trials!("processes", Processes: [
    a_killed_holder_makes_room,
], Expiry: [
    a_stopped_holder_knows_first_of_all_that_its_time_is_over,
]);

async fn start_holder(context: &Context) -> Result<HolderProcess, Failure> {
    let holder = context.fixture().holder().ok_or_else(|| Failure::new("the fixture has no holder"))?;
    let (holder, name) = (holder.clone(), context.name().to_owned());
    tokio::task::spawn_blocking(move || holder.start(&name)).await?
}

async fn a_killed_holder_makes_room(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let mut process = start_holder(&context).await?;
    check!(lock.try_acquire().await?.is_none(), "another process is not seen to hold");
    let waiting = context.enqueue(&lock, alice.options(), 1).await?;
    process.kill()?;
    let guard = context.granted_in_the_end(waiting).await?;
    check!(guard.fencing_token() > process.token, "the token fell from {} to {guard:?}", process.token);
    Ok(())
}

/// Neither a timer nor a message can have told it when it looks.
async fn a_stopped_holder_knows_first_of_all_that_its_time_is_over(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let mut process = start_holder(&context).await?;
    let waiting = context.enqueue(&lock, alice.options(), 1).await?;
    process.stop()?;
    let guard = context.granted_in_the_end(waiting).await?;
    check!(!process.resume_and_ask()?, "two valid guards");
    check!(guard.fencing_token() > process.token, "the token fell from {} to {guard:?}", process.token);
    guard.verify().await?;
    Ok(())
}
