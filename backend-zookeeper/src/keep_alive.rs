//! Keeps a session connected and alive, and knows for how long it is sure to live.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockcore::session::{Clock, Lease, Loss, Moment};
use lockcore::{Error, ErrorKind, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zookeeper_client::{Error as ClientError, SessionInfo, SessionState};

use crate::connection::{Connection, Work};
use crate::error::error;
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
        let dialed = dialer.dial(None).await.map_err(|source| not_opened(options.servers(), source))?;
        dialer.session_timeout = dialed.connection.client().session_timeout();
        let lease = Lease::new(Clock::Boot, Some(dialer.session_timeout), dialed.sent);
        let (sender, state) = watch::channel(State::Down);
        let keeper = Keeper {
            session: dialed.connection.client().session().clone(),
            patience: options.connect_timeout(),
            lease: lease.clone(),
            state: sender,
            dialer,
        };
        tokio::spawn(keeper.keep(dialed));
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

fn not_opened(servers: &[String], source: ClientError) -> Error {
    let servers = servers.join(",");
    match source {
        ClientError::BadArguments(_) => Error::new(
            ErrorKind::InvalidConfig,
            format!("{servers:?} is not a list of host:port: correct the URL"),
        )
        .with_source(source),
        source => error(source, format_args!("open a session on {servers}")),
    }
}

fn usable(state: &State) -> Option<&Arc<Connection>> {
    match state {
        State::Up(connection) if !connection.is_over() => Some(connection),
        _ => None,
    }
}

struct Keeper {
    session: SessionInfo,
    patience: Duration,
    lease: Lease,
    state: watch::Sender<State>,
    dialer: Dialer,
}

impl Keeper {
    async fn keep(mut self, mut dialed: Dialed) {
        loop {
            let Dialed { connection, mut work, sent } = dialed;
            let ended = tokio::select! {
                state = &mut work => state,
                () = self.renew(&connection, sent) => SessionState::Disconnected,
                _ = self.lease.lost() => return self.end(Some((connection, work))).await,
            };
            drop(work);
            if matches!(self.state.send_replace(State::Down), State::Up(_)) {
                self.dialer.pause = Duration::ZERO;
            }
            if ended.is_terminated() {
                return self.ended();
            }
            self.lease.doubt();
            dialed = tokio::select! {
                again = self.dialer.dial(Some(&self.session)) => match again {
                    Ok(dialed) => dialed,
                    Err(_) => return self.ended(),
                },
                _ = self.lease.lost() => return self.end(None).await,
            };
            let granted = dialed.connection.client().session_timeout();
            self.dialer.session_timeout = granted.min(self.dialer.session_timeout);
            self.lease.grant(Some(self.dialer.session_timeout));
        }
    }

    /// Renews, until one is refused (somebody else took the session over, perhaps an earlier attempt of ours that came
    /// late), or not confirmed while there is still time to try another server: this one may answer, but be cut off from
    /// the others, and not know it yet.
    ///
    /// A server tells the leader of a renewal with its next answer to the leader's own ping, some time after it has
    /// acknowledged it, or never if it is cut off then. But by that time it has told of the renewal before. So a renewal
    /// counts from when it was sent, but not for more than one interval longer than the one before would.
    async fn renew(&self, connection: &Arc<Connection>, connected: Moment) {
        let mut before = connected;
        while let Some(interval) = self.lease.renewal_interval() {
            let (sent, next) = (self.lease.now(), Instant::now() + interval);
            match timeout(self.dialer.session_timeout / 2, connection.touch()).await {
                Ok(Ok(())) => {}
                Ok(Err(source)) => {
                    tracing::debug!(error = %connection.error("renew the session at", "/", source));
                    return;
                }
                Err(_) => return,
            }
            self.lease.renewed(sent.min(before + interval));
            before = sent;
            self.confirmed(connection);
            sleep_until(next).await;
        }
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

    /// Tells the server of the end, if one can be reached in time.
    async fn end(mut self, connected: Option<(Arc<Connection>, Work)>) {
        self.state.send_replace(State::Down);
        let tell = async {
            let mut connected = connected;
            loop {
                let (connection, work) = match connected.take() {
                    Some(connected) => connected,
                    None => match self.dialer.dial(Some(&self.session)).await {
                        Ok(dialed) => (dialed.connection, dialed.work),
                        Err(_) => return,
                    },
                };
                // The library ends the session when nobody has its client any more.
                drop(connection);
                if work.await.is_terminated() {
                    return;
                }
            }
        };
        if timeout(self.patience, tell).await.is_ok() {
            self.ended();
        }
    }

    fn ended(&self) {
        self.lease.end(Loss::Expired);
        self.state.send_replace(State::Ended);
    }
}

/// Makes connections, with one server after the other.
#[derive(Debug)]
struct Dialer {
    options: ZooKeeperOptions,
    servers: VecDeque<String>,
    /// How long the session lasts: what was asked for, then the least that any server has granted. (A new leader begins
    /// with what was granted first, whatever was granted later.)
    session_timeout: Duration,
    /// How long to wait before the servers are tried: not at all after a connection that could be used.
    pause: Duration,
}

/// A connection that was made, and when it was asked for.
#[derive(Debug)]
struct Dialed {
    connection: Arc<Connection>,
    work: Work,
    sent: Moment,
}

impl Dialer {
    fn new(options: &ZooKeeperOptions) -> Self {
        let mut servers = options.servers().to_vec();
        servers.shuffle(&mut rand::rng());
        let session_timeout = options.session_timeout();
        Self { options: options.clone(), servers: servers.into(), session_timeout, pause: Duration::ZERO }
    }

    /// How long a server may be silent.
    fn silence(&self) -> Duration {
        self.options.connection_timeout(self.session_timeout)
    }

    /// Tries the servers, the one that was tried last comes last, until one takes this session, or opens a new one.
    /// Fails when there is no session to be had.
    async fn dial(&mut self, session: Option<&SessionInfo>) -> Result<Dialed, ClientError> {
        if self.servers.is_empty() {
            return Err(ClientError::BadArguments(&"no servers"));
        }
        let longest = self.session_timeout / 10;
        loop {
            let jitter = rand::rng().random_range(0.5..1.0);
            sleep(self.pause.mul_f64(jitter)).await;
            self.pause = longest.min(self.pause * 2).max(longest / 16);
            for _ in 0..self.servers.len() {
                self.servers.rotate_left(1);
                if let Some(end) = self.try_first(session).await {
                    return end;
                }
            }
        }
    }

    async fn try_first(&self, session: Option<&SessionInfo>) -> Option<Result<Dialed, ClientError>> {
        let server = self.servers.front()?;
        let connector = self.options.connector(self.session_timeout);
        let connector = match session {
            Some(session) => connector.with_session(session.clone()),
            None => connector,
        };
        let sent = Clock::Boot.now();
        match timeout(self.silence(), Connection::open(connector, server)).await {
            Ok(Ok((connection, work))) => Some(Ok(Dialed { connection: Arc::new(connection), work, sent })),
            Ok(Err(
                end @ (ClientError::SessionExpired
                | ClientError::AuthFailed
                | ClientError::BadArguments(_)
                | ClientError::RuntimeInconsistent),
            )) => Some(Err(end)),
            Ok(Err(failed)) => {
                tracing::debug!(server, %failed, "not connected");
                None
            }
            Err(_) => {
                tracing::debug!(server, "not connected in time");
                None
            }
        }
    }
}
