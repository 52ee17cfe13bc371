//! Keeps the session alive, and knows for how long it is sure to live.

use lockcore::session::{Clock, Lease, Loss, Moment};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use zookeeper_client::{Client, Error as ClientError, MultiWriteError, SessionState, StateWatcher};

use crate::error::error;

/// A lease on the session of this client, renewed until it is lost. `sent` is when the last acknowledged request
/// was sent.
pub(crate) fn start(client: Client, sent: Moment) -> Lease {
    let lease = Lease::new(Clock::Boot, Some(client.session_timeout()), sent);
    let beating = lease.clone();
    tokio::spawn(async move {
        // Whatever comes first ends all three, and lets go of the client: nothing renews a lost session.
        tokio::select! {
            _ = beating.lost() => {}
            () = renew(&client, &beating) => {}
            () = follow(client.state_watcher(), &beating) => {}
        }
    });
    lease
}

async fn renew(client: &Client, lease: &Lease) {
    let Some(period) = lease.renewal_interval() else { return };
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = lease.now();
        match touch(client).await {
            Ok(()) => lease.renewed(sent),
            Err(source) => {
                tracing::debug!(error = %error(source), "session not renewed");
                lease.doubt();
            }
        }
    }
}

/// Has a majority of the servers acknowledge that the session is alive.
///
/// Only what is written needs a majority: a leader that was stopped, and replaced meanwhile, answers everything else
/// when it goes on, until it notices. So this is a transaction, which checks the session and changes nothing.
pub(crate) async fn touch(client: &Client) -> Result<(), ClientError> {
    let mut transaction = client.new_multi_writer();
    transaction.add_check_version("/", -1)?;
    match transaction.commit().await {
        // It went the same way if we may not read the root.
        Ok(_) | Err(MultiWriteError::OperationFailed { source: ClientError::NoAuth, .. }) => Ok(()),
        Err(refused) => Err(refused.into()),
    }
}

/// The client library notices the end of the session later than the server does it: that says nothing about time,
/// only that all is over.
async fn follow(mut states: StateWatcher, lease: &Lease) {
    loop {
        match states.changed().await {
            SessionState::Disconnected => lease.doubt(),
            state if state.is_terminated() => return lease.end(Loss::Expired),
            _ => {}
        }
    }
}
