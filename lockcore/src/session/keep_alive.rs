//! Keeps a session alive at its server: when to renew, from when a renewal counts, what a failure means.
//!
//! Drivers of servers that end sessions by themselves call it from the task of each session, and hand it their requests.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;

use rand::RngExt;
use tokio::time::{sleep, timeout};

use crate::chance;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics;
use crate::seldom::Seldom;
use crate::session::{Lease, Loss, Moment};

/// The requests with which a driver keeps one session alive, for [`keep_alive`].
///
/// Each may fail as often as the network does. Only an error [of a loss](Error::lost) ends the session: the server
/// said that it is over.
pub trait KeepAlive: Send {
    /// Whether a server acknowledges a renewal some time before it tells those who decide when the session ends, at the
    /// latest before it acknowledges the next. Then a renewal counts for no more than one interval longer than the one
    /// before. Of the request that [connects](Self::connect) they are told at once.
    const TOLD_LATER: bool = false;

    /// Whether nothing else is asked over a connection before a renewal over it was acknowledged. Then the first one is sent at once, and
    /// not when it is due.
    const FIRST_AT_ONCE: bool = false;

    /// Connects, at the beginning and after each failure. When it returns, no request that was sent over an earlier connection can do
    /// harm any more.
    fn connect(&mut self) -> impl Future<Output = Result<()>> + Send {
        ready(Ok(()))
    }

    /// Renews the session, over the connection that was made last. Returns when a server has acknowledged that, one that cannot
    /// have been deposed without knowing it.
    fn renew(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Returns when the connection is known to be lost, for drivers that hear of that between two renewals.
    fn disconnected(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// Connects and renews until the lease is lost, and says why it is.
///
/// It takes the time of sending itself. It renews [so often](Lease::renewal_interval), after a failure first at once and then after
/// pauses that grow, and gives up a renewal that is not acknowledged within half of the granted time: another server, or
/// another connection, still has time to answer. A lease that has no limit needs no renewal.
///
/// # Cancel safety
///
/// Dropping it stops renewing; the lease is then lost in time.
pub async fn keep_alive(lease: &Lease, server: &mut impl KeepAlive) -> Loss {
    tokio::select! {
        biased;
        loss = lease.lost() => loss,
        never = repeat(lease, server) => match never {},
    }
}

async fn repeat<S: KeepAlive>(lease: &Lease, server: &mut S) -> Infallible {
    let (mut failures, mut told, mut warnings) = (0, lease.last_renewal(), Seldom::default());
    if let Some(interval) = lease.renewal_interval().filter(|_| !S::FIRST_AT_ONCE) {
        sleep(lease.now().until(told + interval)).await;
    }
    loop {
        match connected(lease, server, told, (&mut failures, &mut warnings)).await {
            Ok(()) => tracing::debug!("connection lost"),
            Err(error) => {
                tracing::debug!(%error, "session not renewed");
                error.loss().into_iter().for_each(|loss| lease.end(loss));
            }
        }
        lease.doubt();
        sleep(pause(lease, failures)).await;
        failures += 1;
        told = lease.now();
    }
}

/// Renews over one connection, until that is lost or a renewal fails. Those who decide were told no earlier than at `told`.
async fn connected<S: KeepAlive>(
    lease: &Lease,
    server: &mut S,
    mut told: Moment,
    (failures, warnings): (&mut u32, &mut Seldom),
) -> Result<()> {
    server.connect().await?;
    loop {
        let Some(interval) = lease.renewal_interval() else { return pending().await };
        let sent = lease.now();
        renew(server, interval * 3).await?;
        lease.renewed(if S::TOLD_LATER { sent.min(told + interval) } else { sent });
        told = sent;
        let next = sent + interval;
        tokio::select! {
            () = server.disconnected() => return Ok(()),
            () = sleep(lease.now().until(next)) => {}
        }
        // Not before: a server that acknowledges one renewal and then hangs up is not asked without a pause.
        *failures = 0;
        let delay = next.until(lease.now());
        metrics::renewed_late(delay);
        if is_late(delay, interval) && warnings.is_due() {
            warn_of(delay);
        }
    }
}

async fn renew(server: &mut impl KeepAlive, limit: Duration) -> Result<()> {
    match timeout(limit, server.renew()).await {
        Ok(renewed) => renewed,
        Err(_) => Err(Error::new(ErrorKind::Unreachable, format!("no answer to a renewal within {limit:?}"))),
    }
}

/// How long to wait after so many failures in a row.
fn pause(lease: &Lease, failures: u32) -> Duration {
    let (Some(interval), Some(doublings)) = (lease.renewal_interval(), failures.checked_sub(1)) else {
        return Duration::ZERO;
    };
    let pause = (interval / 64).saturating_mul(1 << doublings.min(5));
    pause.mul_f64(chance::draw(|rng| rng.random_range(0.5..1.0)))
}

/// Late renewals lose sessions, so whoever keeps the runtime from them is told before that happens: at a third of the margin.
fn is_late(delay: Duration, interval: Duration) -> bool {
    delay > interval * 2 / 5
}

fn warn_of(delay: Duration) {
    tracing::warn!(
        ?delay,
        "the renewal of a session was late: something keeps the threads of this runtime busy; give blocking work to spawn_blocking"
    );
}
