//! What all parts of a session need for their requests.

use std::future::Future;
use std::sync::Arc;

use lockcore::session::{Lease, Loss};
use lockcore::{Error, ErrorKind, Result};

use crate::connection::Connection;
use crate::options::PostgresOptions;
use crate::own_entries::OwnEntries;
use crate::pool::Pool;

/// What all parts of a session have in common.
pub(crate) struct Shared {
    /// Its number, which no other session has.
    pub(crate) id: i64,
    pub(crate) options: PostgresOptions,
    pub(crate) lease: Lease,
    pub(crate) own_entries: Arc<OwnEntries>,
    pub(crate) requests: Connection,
    /// Of its own: nobody's open transaction keeps requests for entries from being answered, and renewals behind them.
    pub(crate) renewals: Connection,
    pub(crate) pool: Pool,
}

impl Shared {
    /// The answer to a request; none for a lost session.
    pub(crate) async fn unless_lost<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(loss) = self.lease.loss() {
            return Err(Error::lost(loss));
        }
        let answer = answer.await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost) {
            self.lease.end(Loss::Expired);
        }
        answer
    }

    /// Wakes up a process of the server that blocks for us.
    pub(crate) async fn cancel(&self, process: i32) {
        let call = format!("SELECT pg_cancel_backend({process})");
        let _ = self.requests.request(async |ready| ready.link.client().batch_execute(&call).await).await;
    }

    /// Nothing of it is asked any more.
    pub(crate) fn end(&self) {
        self.requests.end();
        self.renewals.end();
        self.pool.clear();
    }
}
