//! The connections of a session, made anew when they are in trouble, and the requests that go over them.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, try_join, try_join_all};
use lockcore::session::Loss;
use lockcore::{Effect, Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Error as ClientError, Statement};

use crate::error::{error, invalid, needs_reconnect};
use crate::link::{Link, Use};
use crate::options::PostgresOptions;
use crate::own_entries::OwnEntries;
use crate::schema;

/// One attempt to connect, and all who wait for it.
type Connecting = Shared<BoxFuture<'static, Result<Arc<Ready>>>>;

/// A connection of a session, for one use.
pub(crate) struct Connection {
    shared: Arc<Connector>,
    /// None after trouble: the next request connects anew.
    current: Mutex<Option<Connecting>>,
    room: Semaphore,
}

/// How to connect.
struct Connector {
    options: PostgresOptions,
    session: i64,
    used: Use,
    own_entries: Arc<OwnEntries>,
    /// A connection that is there already.
    first: Mutex<Option<Link>>,
    /// The number of the last connection for requests.
    epoch: AtomicI32,
}

/// A connection that is ready to be used, with what is prepared on it.
pub(crate) struct Ready {
    pub(crate) link: Link,
    pub(crate) epoch: i32,
    calls: Vec<(Call, Statement)>,
}

/// The functions of the schema that are called often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Enqueue,
    Remove,
    Look,
    Renew,
    Wait,
}

impl Call {
    fn text(self) -> &'static str {
        match self {
            Call::Enqueue => "enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            Call::Remove => "remove($1, $2, $3, $4)",
            Call::Look => "look($1, $2, $3, $4, $5, $6)",
            Call::Renew => "renew($1, $2, $3, $4, $5, $6)",
            Call::Wait => "wait($1, $2, $3, $4, $5, $6, $7)",
        }
    }

    fn on(used: Use) -> &'static [Self] {
        match used {
            Use::Requests => &[Call::Enqueue, Call::Remove, Call::Look],
            Use::Renewals => &[Call::Renew],
            Use::Waiting => &[Call::Wait],
        }
    }
}

impl Ready {
    /// What a function answers.
    pub(crate) async fn call<T: for<'a> FromSql<'a>>(
        &self,
        call: Call,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<T, ClientError> {
        let prepared = self.calls.iter().find(|(prepared, _)| *prepared == call);
        let (_, statement) = prepared.expect("each use of a connection has its own calls");
        self.link.client().query_one(statement, parameters).await?.try_get(0)
    }
}

/// How many requests of one session are under way at once. The time for an answer runs while a request waits for
/// others at the server.
const AT_ONCE: usize = 64;

impl Connection {
    /// One that the first request makes, unless it is there already.
    pub(crate) fn new(
        options: &PostgresOptions,
        session: i64,
        used: Use,
        own_entries: &Arc<OwnEntries>,
        first: Option<Link>,
    ) -> Self {
        let shared = Connector {
            options: options.clone(),
            session,
            used,
            own_entries: own_entries.clone(),
            first: Mutex::new(first),
            epoch: AtomicI32::new(0),
        };
        Self { shared: Arc::new(shared), current: Mutex::default(), room: Semaphore::new(AT_ONCE) }
    }

    fn current(&self) -> MutexGuard<'_, Option<Connecting>> {
        // Nothing panics while it is held.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connecting(&self) -> Connecting {
        let connect = || {
            let shared = self.shared.clone();
            async move { shared.connect().await.map(Arc::new) }.boxed().shared()
        };
        self.current().get_or_insert_with(connect).clone()
    }

    fn give_up(&self, connecting: &Connecting) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.ptr_eq(connecting)) {
            *current = None;
        }
    }

    /// The answer to a request. Trouble is not for this request to mend, but for the next.
    pub(crate) async fn request<T>(
        &self,
        request: impl AsyncFnOnce(&Ready) -> Result<T, ClientError>,
    ) -> Result<T> {
        // Never closed.
        let _room = self.room.acquire().await;
        let connecting = self.connecting();
        let ready = connecting.clone().await.inspect_err(|_| self.give_up(&connecting))?;
        let patience = self.shared.options.patience();
        match timeout(patience, request(&ready)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => {
                if needs_reconnect(&source) {
                    self.give_up(&connecting);
                    ready.link.cut();
                }
                Err(error(source).with_context(format!("PostgreSQL at {}", self.shared.options.servers())))
            }
            Err(_) => {
                self.give_up(&connecting);
                ready.link.cut();
                let servers = self.shared.options.servers();
                let message = format!("PostgreSQL at {servers} did not answer within {patience:?}");
                Err(Error::new(ErrorKind::Unreachable, message))
            }
        }
    }

    /// The connection as it is, or a new one.
    pub(crate) async fn ready(&self) -> Result<Arc<Ready>> {
        let connecting = self.connecting();
        connecting.clone().await.inspect_err(|_| self.give_up(&connecting))
    }

    /// Ends the connection.
    pub(crate) fn end(&self) {
        *self.current() = None;
    }
}

impl Connector {
    /// Connects within the time that an answer may take.
    async fn connect(&self) -> Result<Ready> {
        let place = || format!("PostgreSQL at {}", self.options.servers());
        let connected = timeout(self.options.patience(), self.connect_patiently()).await;
        match connected {
            Ok(connected) => connected.map_err(|error| error.with_context(place()).with_effect(Effect::None)),
            Err(_) => {
                let message = format!("{} did not answer within {:?}", place(), self.options.patience());
                Err(Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None))
            }
        }
    }

    async fn connect_patiently(&self) -> Result<Ready> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let link = match first {
            Some(link) => link,
            None => Link::connect(&self.options, &self.own_entries).await?,
        };
        link.set_up(self.session, self.used, self.options.patience()).await?;
        let epoch = match self.used {
            Use::Requests => self.arrive(&link).await?,
            Use::Renewals | Use::Waiting => 0,
        };
        let calls = self.prepare(&link).await?;
        Ok(Ready { link, epoch, calls })
    }

    /// Tells that from now on this is the connection for requests: those of earlier ones are refused. The first one opens the session.
    async fn arrive(&self, link: &Link) -> Result<i32> {
        let (schema, session) = (self.options.schema(), self.session);
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        if epoch == 1 {
            schema::ensure(link, schema).await?;
        }
        let life = i64::try_from(self.options.session_timeout().as_millis()).unwrap_or(i64::MAX >> 1);
        let row = link.ask(&format!("SELECT {schema}.arrive({session}, {epoch}, {life})")).await?;
        match row.as_ref().and_then(|row| row.get(0)) {
            Some("1") => self.forget_removed(link, epoch).await.map(|()| epoch),
            Some("0") => Err(Error::lost(Loss::Expired)),
            _ => Err(Error::new(ErrorKind::Unreachable, "the server is a standby, and follows another")),
        }
    }

    /// A server that took over may not know of our last removals.
    async fn forget_removed(&self, link: &Link, epoch: i32) -> Result<()> {
        if epoch > 1 {
            let text =
                format!("DELETE FROM {}.entry WHERE session = $1 AND id <> ALL ($2)", self.options.schema());
            let ids = self.own_entries.ids();
            link.client().execute(&text, &[&self.session, &ids]).await.map_err(error)?;
        }
        Ok(())
    }

    async fn prepare(&self, link: &Link) -> Result<Vec<(Call, Statement)>> {
        let schema = self.options.schema();
        let prepare = async |call: &Call| {
            let text = format!("SELECT {schema}.{}", call.text());
            Ok((*call, link.client().prepare(&text).await.map_err(error)?))
        };
        try_join_all(Call::on(self.used).iter().map(prepare)).await
    }
}

/// Two connections. Those of a pooler that gives each transaction whatever process of the server is free are refused: what belongs to a
/// connection, advisory locks above all, would be anybody's. It is asked for nothing that would stay behind there.
pub(crate) async fn two_links(options: &PostgresOptions, own_entries: &Arc<OwnEntries>) -> Result<[Link; 2]> {
    let connect = || Link::connect(options, own_entries);
    let (one, other) = try_join(connect(), connect()).await?;
    let stays = one.process != other.process
        && stay(&one, &other).await?
        // A pool gives whoever comes next what was given back last.
        && stay(&other, &one).await?;
    if stays { Ok([one, other]) } else { Err(pooled()) }
}

/// Whether each is the same process as before, while one is in the middle of a transaction.
async fn stay(one: &Link, other: &Link) -> Result<bool> {
    let begun = other.ask("BEGIN; SELECT pg_backend_pid()").await;
    let asked = one.who().await;
    let ended = other.ask("COMMIT").await;
    // A pool of statements refuses transactions.
    let (Ok(begun), Ok(_)) = (begun, ended) else { return Ok(false) };
    let process = begun.and_then(|row| row.get(0)?.parse::<i32>().ok());
    Ok(process == Some(other.process) && asked?.0 == one.process)
}

pub(crate) fn pooled() -> Error {
    invalid(
        "a pooler stands before PostgreSQL that gives each transaction another connection: locks need connections that stay. Let the URL \
         name the server itself, or a pool in session mode (PgBouncer: pool_mode = session)",
    )
}
