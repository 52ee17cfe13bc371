//! Connections on which waiters block.

use std::sync::Arc;

use lockcore::{Error, ErrorKind, Result};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

use crate::connection::{Call, Connection, Ready};
use crate::error::{error, needs_reconnect};
use crate::link::{Use, WAITING};
use crate::requests::Shared;

impl Shared {
    /// A connection to block on; none if there are none to be had.
    pub(crate) async fn connection_to_block_on(self: &Arc<Self>) -> Option<Blocked> {
        let free = self.pool.take()?;
        let counted = Counted { session: self.clone(), kept: false };
        let ready = match free {
            Some(ready) => ready,
            None => {
                let connection =
                    Connection::new(&self.options, self.id, Use::Waiting, &self.own_entries, None);
                match connection.ready().await {
                    Ok(ready) => ready,
                    Err(error) => {
                        tracing::debug!(%error, "no connection to wait on");
                        return None;
                    }
                }
            }
        };
        Some(Blocked { ready, counted, done: true })
    }
}

/// A connection that is counted, as long as it is not given back.
struct Counted {
    session: Arc<Shared>,
    kept: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.kept {
            self.session.pool.give_up();
        }
    }
}

/// A connection on which somebody blocks. Dropped, it is free again.
pub(crate) struct Blocked {
    ready: Arc<Ready>,
    counted: Counted,
    /// Whether nothing is under way on it.
    done: bool,
}

impl Blocked {
    /// What a function answers that may take as long as the server lets it wait.
    pub(crate) async fn call(
        mut self,
        call: Call,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Vec<i64>>> {
        let limit = WAITING + self.counted.session.options.patience();
        self.done = false;
        let answer = timeout(limit, self.ready.call(call, parameters)).await;
        self.done = true;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => {
                if needs_reconnect(&source) {
                    self.broken();
                }
                Err(error(source))
            }
            Err(_) => {
                self.broken();
                Err(Error::new(ErrorKind::Unreachable, format!("no answer within {limit:?}")))
            }
        }
    }

    fn broken(&self) {
        self.ready.link.cut();
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if self.ready.link.is_over() {
            return;
        }
        let session = &self.counted.session;
        if !self.done && tokio::runtime::Handle::try_current().is_ok() {
            // Or it would block on, and whoever comes next behind it.
            let (session, process) = (session.clone(), self.ready.link.process);
            tokio::spawn(async move { session.cancel(process).await });
        }
        self.counted.kept = true;
        session.pool.give_back(self.ready.clone());
    }
}
