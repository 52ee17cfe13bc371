//! Connections on which waiters block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockcore::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout};
use tokio_postgres::types::ToSql;

use crate::connection::{Call, Connection, Ready};
use crate::error::{error, needs_reconnect};
use crate::link::{Use, WAITING};
use crate::session::Shared;

/// The connections that are free, and how many there are.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<(Instant, Arc<Ready>)>,
    /// With those on which somebody blocks.
    all: usize,
}

/// How many locks of one session are waited for in this way at a time; behind others somebody looks again and again.
const MOST: usize = 8;

/// How long a connection is kept that nobody needs.
const KEPT: Duration = Duration::from_secs(10);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection; none if there are none to be had.
    pub(crate) async fn take(&self, session: &Arc<Shared>) -> Option<Blocked> {
        let (ready, counted) = {
            let mut state = self.lock();
            let free = state.free.pop().map(|(_, ready)| ready);
            if free.is_none() && state.all >= MOST {
                return None;
            }
            state.all += usize::from(free.is_none());
            (free, Counted { session: session.clone(), kept: false })
        };
        let ready = match ready {
            Some(ready) => ready,
            None => {
                let connection =
                    Connection::new(&session.options, session.id, Use::Waiting, &session.own_entries, None);
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

    /// Ends those that nobody has needed for a while.
    pub(crate) fn trim(&self) {
        let mut state = self.lock();
        let before = state.free.len();
        state.free.retain(|(since, _)| since.elapsed() < KEPT);
        let ended = before - state.free.len();
        state.all -= ended;
    }

    /// Ends all that are free.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let ended = std::mem::take(&mut state.free).len();
        state.all -= ended;
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
            self.session.pool.lock().all -= 1;
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
        session.pool.lock().free.push((Instant::now(), self.ready.clone()));
    }
}
