//! What a session does for all others: it advances their clock, and removes those whose time is over. On the way it asks for its own entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockcore::Result;
use lockcore::session::Moment;
use tokio::time::sleep;

use crate::layout::lock_bytes;
use crate::requests::Shared;

/// How often the clock of the sessions is looked at: at least as often as the step by which it may go on.
const TICK: Duration = Duration::from_millis(900);

/// The clock of the sessions, when we last saw it.
struct Clock {
    said: i64,
    at: Moment,
}

/// Judges, as long as it is polled.
pub(crate) async fn judge(shared: &Arc<Shared>) {
    let (mut clock, mut checked) = (None, 0);
    loop {
        // The first one only looks at the clock: whoever lives shortly has seen it then.
        if let Err(error) = tick(shared, &mut clock, &mut checked).await {
            tracing::debug!(%error, "sessions not judged");
        }
        shared.pool.trim();
        sleep(TICK).await;
    }
}

/// Looks at the clock, and at some of the entries that are held.
async fn tick(shared: &Arc<Shared>, clock: &mut Option<Clock>, checked: &mut i64) -> Result<()> {
    let held = shared.own_entries.held_after(*checked);
    *checked = held.last().map_or(0, |(token, _)| *token);
    let (tokens, locks): (Vec<i64>, Vec<Vec<u8>>) =
        held.iter().map(|(token, lock)| (*token, lock_bytes(lock))).unzip();
    let seen = clock.take().map_or((0, 0), |Clock { said, at }| {
        let elapsed = at.until(shared.lease.now()).as_millis();
        (said, i64::try_from(elapsed).unwrap_or(i64::MAX))
    });
    unlisten(shared).await?;
    let answer = shared.renew(false, seen, &locks, &tokens).await?;
    let [_, said, ref missing @ ..] = answer[..] else { return Ok(()) };
    *clock = Some(Clock { said, at: shared.lease.now() });
    for token in missing {
        let lock = held.iter().find(|(held, _)| held == token).map(|(_, lock)| lock);
        if let (Some(lock), Some(id)) = (lock, shared.own_entries.is_absent(*token)) {
            // Its advisory lock is still there.
            shared.clear(lock, &id).await?;
        }
    }
    Ok(())
}

/// Stops listening when nobody waits for a semaphore any more.
async fn unlisten(shared: &Shared) -> Result<()> {
    let unlisten = shared.renewals.request(async |ready| {
        if ready.link.listens.load(Ordering::Acquire) && !shared.own_entries.waits_for_semaphores() {
            let _ = ready.link.unlisten().await;
        }
        Ok(())
    });
    unlisten.await
}
