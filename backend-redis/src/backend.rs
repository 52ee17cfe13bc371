//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::session::{Clock, Lease, keep_alive};
use lockcore::{
    Capabilities, Clocks, EntryId, Failover, Fencing, LockService, LockUrl, QueueBackend, QueueSession,
    Result, ServiceFactory, UrlOption, open_once,
};
use redis::aio::PubSub;
use redis::{Cmd, cmd};

use crate::connection::Connection;
use crate::keep_alive::Renewals;
use crate::layout::Layout;
use crate::options::{OPTIONS, RedisOptions, Topology, invalid};
use crate::queue::Shared;
use crate::servers::Servers;
use crate::session::RedisSession;
use crate::watches::{Subscription, listen};

/// What the requests that open a session are called in errors.
const OPENING: &str = "session";

/// Makes the lock service for a [URL](RedisOptions::from_url).
#[derive(Debug, Clone, Default)]
pub struct RedisFactory;

impl ServiceFactory for RedisFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = Redis::new(RedisOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

/// Locks on Redis, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct Redis {
    options: RedisOptions,
}

impl Redis {
    /// The locks of these servers. Nothing is sent yet.
    pub fn new(options: RedisOptions) -> Self {
        Self { options }
    }

    async fn open(&self) -> Result<RedisSession> {
        let (options, id) = (&self.options, EntryId::random());
        let patience = options.patience();
        let servers = Arc::new(Servers::new(options));
        let channel = format!("{}{id}", Layout::new(&options.prefix).sessions());
        let subscription = Subscription { servers: servers.clone(), channel, patience };
        let connection = Connection::new(servers.clone(), patience);
        let sent = Clock::Boot.now();
        connection.ask_any::<String>(OPENING, cmd("PING")).await?;
        let (pubsub, ()) =
            futures::future::try_join(subscription.start(&connection), self.check(&connection)).await?;
        let lease = Lease::new(Clock::Boot, Some(options.session_timeout), sent);
        let shared = Arc::new(Shared::new(id, connection, servers, lease, options));
        shared.begin().await?;
        start(shared.clone(), subscription, pubsub);
        Ok(RedisSession::new(shared))
    }

    /// Refuses a server that cannot serve, and warns of one that may lose locks, as far as it lets us see that.
    async fn check(&self, connection: &Connection) -> Result<()> {
        let told = connection.ask_any::<String>(OPENING, info("server")).await.unwrap_or_default();
        let told = |name| value(&told, name);
        let major = told("redis_version:").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major < 7) {
            return Err(invalid("the Redis server is older than version 7"));
        }
        let single = matches!(self.options.topology, Topology::Single { .. });
        if single && told("redis_mode:") == Some("cluster") {
            return Err(invalid("the Redis server belongs to a cluster: use redis+cluster://"));
        }
        self.warn(connection).await;
        Ok(())
    }

    async fn warn(&self, connection: &Connection) {
        let memory = connection.ask_any::<String>(OPENING, info("memory")).await.unwrap_or_default();
        if let Some(policy) = value(&memory, "maxmemory_policy:").filter(|policy| *policy != "noeviction") {
            tracing::warn!(
                policy,
                "Redis may evict locks when its memory is full: use maxmemory-policy noeviction"
            );
        }
        let persistence =
            connection.ask_any::<String>(OPENING, info("persistence")).await.unwrap_or_default();
        if value(&persistence, "aof_enabled:") == Some("0") {
            tracing::warn!("Redis forgets locks when it restarts: use appendonly yes");
        }
    }
}

fn info(section: &str) -> Cmd {
    let mut command = cmd("INFO");
    command.arg(section);
    command
}

fn value<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name))
}

#[async_trait]
impl QueueBackend for Redis {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::strict();
        capabilities.fencing = Fencing::BestEffort;
        capabilities.failover = Failover::MayLoseLocks;
        capabilities.clocks = Clocks::ServerTimeOfDay;
        capabilities
    }

    fn place(&self) -> String {
        format!("Redis at {}", self.options.topology)
    }

    fn identity(&self) -> String {
        let RedisOptions { topology, database, prefix, .. } = &self.options;
        format!("redis {} {database} {prefix}", topology.sorted())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        Ok(Arc::new(open_once(&self.place(), self.connect_timeout(), self.open()).await?))
    }
}

/// Renews the session and receives its messages, until it is lost.
fn start(shared: Arc<Shared>, subscription: Subscription, pubsub: PubSub) {
    tokio::spawn(async move {
        let mut renewals = Renewals(&shared);
        // Whatever comes first ends both: nothing renews a lost session.
        tokio::select! {
            _ = keep_alive(&shared.lease, &mut renewals) => {}
            () = listen(&shared, &subscription, pubsub) => {}
        }
    });
}
