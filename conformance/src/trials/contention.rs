//! Many clients at once: the history must be one that the rule allows.

use std::sync::Arc;

use super::prelude::*;
use crate::history::Recorder;

trials!("contention", Clients: [
    ten_clients_on_one_lock,
    readers_and_writers,
    many_on_a_semaphore,
    some_give_up,
]);

/// What a client does in each round.
type Turn =
    fn(&Context, &dyn LockService, u32) -> lockcore::Result<(Arc<dyn DistributedLock>, AcquireOptions)>;

const CLIENTS: u32 = 10;
const ROUNDS: u32 = 10;

/// Lets everybody take turns, and checks the history.
async fn contend(context: Context, turn: Turn) -> Verdict {
    let history = Arc::new(Recorder::default());
    let (mut clients, mut turns) = (Vec::new(), Vec::new());
    for number in 0..CLIENTS {
        let client = context.client().await?;
        let (context, history, locks) = (context.clone(), history.clone(), client.locks.clone());
        clients.push(client);
        turns.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let (lock, options) = turn(&context, &*locks, number * ROUNDS + round)?;
                let guard = match lock.acquire_with(&options).await {
                    // A busy server may not answer within the time that is given here.
                    Err(error) if error.kind() == ErrorKind::Unreachable && options.wait != Wait::Forever => {
                        None
                    }
                    acquired => acquired?,
                };
                let Some(guard) = guard else { continue };
                let hold = history.granted(&*lock, options.permits, &guard);
                tokio::time::sleep(Duration::from_micros(200)).await;
                hold.ends(guard.is_valid());
                let released = guard.release().await?;
                check!(released == Released::Held, "released: {released:?}");
            }
            Ok(())
        }));
    }
    for turns in turns {
        tokio::time::timeout(10 * context.patience(), turns).await???;
    }
    history.check()
}

async fn ten_clients_on_one_lock(context: Context) -> Verdict {
    contend(context, |context, locks, _| Ok((locks.exclusive(context.name())?, AcquireOptions::new()))).await
}

async fn readers_and_writers(context: Context) -> Verdict {
    contend(context, |context, locks, turn| {
        let name = context.name();
        let lock = if turn % 3 == 0 { locks.exclusive(name)? } else { locks.shared(name)? };
        Ok((lock, AcquireOptions::new()))
    })
    .await
}

async fn many_on_a_semaphore(context: Context) -> Verdict {
    contend(context, |context, locks, turn| {
        Ok((locks.semaphore(context.name(), 4)?, AcquireOptions::new().with_permits(1 + turn % 4)))
    })
    .await
}

async fn some_give_up(context: Context) -> Verdict {
    contend(context, |context, locks, turn| {
        let wait = match turn % 3 {
            0 => Wait::Forever,
            1 => Wait::For(Duration::from_millis(u64::from(turn % 7))),
            _ => Wait::Never,
        };
        Ok((locks.exclusive(context.name())?, AcquireOptions::new().with_wait(wait)))
    })
    .await
}
