//! Keeps a session alive, and knows for how long it is sure to live.

use std::sync::Arc;
use std::time::Duration;

use lockcore::session::{Loss, Moment};
use lockcore::{Error, Result};
use tokio::time::sleep;

use crate::connection::Call;
use crate::layout::lock_bytes;
use crate::requests::Shared;

/// How often the clock of the sessions is looked at: at least as often as the step by which it may go on.
const TICK: Duration = Duration::from_millis(900);

/// The clock of the sessions, when we last saw it.
struct Clock {
    said: i64,
    at: Moment,
}

/// Renews the session, as long as somebody polls.
pub(crate) async fn run(shared: Arc<Shared>) {
    let period = shared.lease.renewal_interval().unwrap_or_default();
    let (mut clock, mut checked) = (None, 0);
    let mut last = shared.lease.now();
    // The first one only looks at the clock: whoever lives shortly has seen it then.
    let mut pause = Duration::ZERO;
    loop {
        sleep(pause).await;
        pause = period.min(TICK);
        let sent = shared.lease.now();
        let due = last.until(sent) + TICK / 2 >= period;
        match renew(&shared, due, &mut clock, &mut checked).await {
            Ok(()) if due => {
                shared.lease.renewed(sent);
                last = sent;
            }
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, "session not renewed");
                shared.lease.doubt();
                sleep(period / 8).await;
            }
        }
        shared.pool.trim();
    }
}

/// One renewal: of the session if that is due, of the clock, and of what is known of the entries that are held.
async fn renew(shared: &Arc<Shared>, due: bool, clock: &mut Option<Clock>, checked: &mut i64) -> Result<()> {
    let held = shared.own_entries.held_after(*checked);
    *checked = held.last().map_or(0, |(token, _)| *token);
    let (tokens, locks): (Vec<i64>, Vec<Vec<u8>>) =
        held.iter().map(|(token, lock)| (*token, lock_bytes(lock))).unzip();
    let (said, elapsed) = clock.take().map_or((0, 0), |Clock { said, at }| {
        let elapsed = at.until(shared.lease.now()).as_millis();
        (said, i64::try_from(elapsed).unwrap_or(i64::MAX))
    });
    let answer: Vec<i64> = shared
        .renewals
        .request(async |ready| {
            if ready.link.listens.load(std::sync::atomic::Ordering::Acquire)
                && !shared.own_entries.waits_for_semaphores()
            {
                let _ = ready.link.unlisten().await;
            }
            ready.call(Call::Renew, &[&shared.id, &due, &said, &elapsed, &locks, &tokens]).await
        })
        .await?;
    let [lives, said, ref missing @ ..] = answer[..] else { return Ok(()) };
    if lives == 0 {
        shared.lease.end(Loss::Expired);
        return Err(Error::lost(Loss::Expired));
    }
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
