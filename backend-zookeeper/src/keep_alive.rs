//! Keeps a session connected and alive, and knows for how long it is sure to live.

use std::sync::Arc;

use lockcore::session::{Clock, KeepAlive, Lease, Loss, keep_alive};
use lockcore::{Effect, Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::timeout;
use zookeeper_client::SessionInfo;

use crate::connection::Connection;
use crate::dialer::{Dialed, Dialer};
use crate::options::ZooKeeperOptions;

/// The way to the server that a session has at present, and the lease on it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    lease: Lease,
    state: watch::Receiver<State>,
}

#[derive(Debug)]
enum State {
    Down,
    /// Confirmed by a majority: whoever asks here sees all that the session has seen elsewhere, and nothing that was
    /// sent on an earlier connection will be executed any more.
    Up(Arc<Connection>),
    /// The session is over, as the server knows.
    Ended,
}

impl Link {
    /// Opens a session. It is kept alive until its lease is lost, then ended.
    pub(crate) async fn open(options: &ZooKeeperOptions) -> Result<Self> {
        let mut dialer = Dialer::new(options);
        let opened = dialer.dial_until_connected(None).await?;
        dialer.session_timeout = opened.connection.client().session_timeout();
        let lease = Lease::new(Clock::Boot, Some(dialer.session_timeout), opened.sent);
        let (sender, state) = watch::channel(State::Down);
        let keeper = Keeper {
            session: opened.connection.client().session().clone(),
            lease: lease.clone(),
            state: sender,
            dialer,
            opened: Some(opened),
            dialed: None,
            over: false,
        };
        tokio::spawn(keeper.keep());
        Ok(Self { lease, state })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The connection, as soon as there is one; none for a lost session, or its requests would renew it.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(loss) = self.lease.loss() {
            return Err(Error::lost(loss));
        }
        if let Some(connection) = usable(&self.state.borrow()) {
            return Ok(connection.clone());
        }
        let mut state = self.state.clone();
        tokio::select! {
            loss = self.lease.lost() => Err(Error::lost(loss)),
            up = state.wait_for(|state| usable(state).is_some()) => {
                let connection = up.ok().as_deref().and_then(usable).cloned();
                connection.ok_or_else(|| Error::lost(self.lease.loss().unwrap_or(Loss::Abandoned)))
            }
        }
    }

    /// Ends the session; says whether the server knows.
    pub(crate) async fn close(&self) -> bool {
        self.lease.end(Loss::Closed);
        self.state.clone().wait_for(|state| matches!(state, State::Ended)).await.is_ok()
    }
}

fn usable(state: &State) -> Option<&Arc<Connection>> {
    match state {
        State::Up(connection) if !connection.is_over() => Some(connection),
        _ => None,
    }
}

/// Keeps a session alive over one connection after the other, then ends it.
struct Keeper {
    session: SessionInfo,
    lease: Lease,
    state: watch::Sender<State>,
    dialer: Dialer,
    /// The connection over which the session was opened, until it is used.
    opened: Option<Dialed>,
    dialed: Option<Dialed>,
    /// The server said that the session is over.
    over: bool,
}

impl Keeper {
    async fn keep(mut self) {
        let lease = self.lease.clone();
        keep_alive(&lease, &mut self).await;
        self.state.send_replace(State::Down);
        let limit = self.dialer.connect_timeout();
        if self.over || timeout(limit, self.end()).await.is_ok() {
            self.state.send_replace(State::Ended);
        }
    }

    /// Tells a server of the end, as soon as one can be reached.
    async fn end(&mut self) {
        loop {
            let Dialed { connection, work, .. } = match self.dialed.take().or(self.opened.take()) {
                Some(dialed) => dialed,
                None => match self.dialer.dial_until_connected(Some(&self.session)).await {
                    Ok(dialed) => dialed,
                    Err(_) => return,
                },
            };
            // The library ends the session when nobody has its client any more.
            drop(connection);
            if work.await.is_terminated() {
                return;
            }
        }
    }

    /// Returns when the connection has ended, and says how.
    async fn end_of_connection(&mut self) -> Error {
        let Some(dialed) = &mut self.dialed else { return no_connection() };
        let state = (&mut dialed.work).await;
        self.dialed = None;
        if state.is_terminated() { self.expired() } else { no_connection() }
    }

    fn expired(&mut self) -> Error {
        self.over = true;
        Error::lost(Loss::Expired)
    }

    fn confirmed(&self, connection: &Arc<Connection>) {
        self.state.send_if_modified(|state| {
            let news = usable(state).is_none();
            if news {
                *state = State::Up(connection.clone());
            }
            news
        });
    }
}

impl KeepAlive for Keeper {
    /// A server tells the leader of a renewal with its next answer to the leader's own ping, some time after it has
    /// acknowledged it, or never if it is cut off then. But by that time it has told of the renewal before.
    const TOLD_LATER: bool = true;
    const FIRST_AT_ONCE: bool = true;

    async fn connect(&mut self) -> Result<()> {
        self.dialed = None;
        self.state.send_replace(State::Down);
        let dialed = match (self.over, self.opened.take()) {
            (true, _) => return Err(self.expired()),
            (false, Some(opened)) => opened,
            (false, None) => match self.dialer.dial(Some(&self.session)).await {
                Ok(dialed) => dialed.ok_or_else(no_connection)?,
                Err(_) => return Err(self.expired()),
            },
        };
        let granted = dialed.connection.client().session_timeout();
        self.dialer.session_timeout = self.dialer.session_timeout.min(granted);
        self.lease.grant(Some(self.dialer.session_timeout));
        self.dialed = Some(dialed);
        Ok(())
    }

    /// Fails if it is refused: somebody else took the session over, perhaps an earlier attempt of ours that came late. A server
    /// that does not answer may be cut off from the others, and not know it yet.
    async fn renew(&mut self) -> Result<()> {
        let Some(connection) = self.dialed.as_ref().map(|dialed| dialed.connection.clone()) else {
            return Err(no_connection());
        };
        let touched = tokio::select! {
            error = self.end_of_connection() => return Err(error),
            touched = connection.touch() => touched,
        };
        touched.map_err(|source| connection.error("renew the session at", "/", source))?;
        self.confirmed(&connection);
        Ok(())
    }

    async fn disconnected(&mut self) {
        self.end_of_connection().await;
    }
}

fn no_connection() -> Error {
    Error::new(ErrorKind::Unreachable, "no connection with ZooKeeper").with_effect(Effect::None)
}
