//! The floor of Redis: two scripts of one command each.

use std::sync::LazyLock;

use async_trait::async_trait;
use fairlock::{EntryId, LockUrl};
use lockcore::Credentials;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Script};

use super::{Client, Shape, failed};
use crate::exit::Failure;

static ENTER: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('set', KEYS[1], ARGV[1], 'px', 10000)"));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('del', KEYS[1])"));

struct RedisClient {
    connection: MultiplexedConnection,
    key: String,
}

pub(in crate::bench) async fn connect(url: &LockUrl) -> Result<MultiplexedConnection, Failure> {
    let server = url.endpoints(6379)?.remove(0);
    let (host, port) = server.rsplit_once(':').unwrap_or((&server, "6379"));
    let address = ConnectionAddr::Tcp(host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(6379));
    let mut as_whom = RedisConnectionInfo::default();
    if let Ok(database) = url.path().trim_start_matches('/').parse() {
        as_whom = as_whom.set_db(database);
    }
    if let Some(login) = Credentials::of(url)? {
        as_whom = as_whom.set_password(login.password()?.unwrap_or_default());
        if !login.user().is_empty() {
            as_whom = as_whom.set_username(login.user());
        }
    }
    let info = address.into_connection_info().map_err(failed)?.set_redis_settings(as_whom);
    let client = redis::Client::open(info).map_err(failed)?;
    client.get_multiplexed_async_connection().await.map_err(failed)
}

pub(super) async fn clients(url: &LockUrl, shape: Shape) -> Result<Vec<Box<dyn Client>>, Failure> {
    let (mut clients, id): (Vec<Box<dyn Client>>, _) = (Vec::new(), EntryId::random());
    let prefix = url.option("prefix").unwrap_or("fairlock:");
    for _ in 0..shape.connections {
        let connection = connect(url).await?;
        for _ in 0..shape.tasks_each {
            let key = format!("{prefix}bench:{id}:{}", clients.len());
            clients.push(Box::new(RedisClient { connection: connection.clone(), key }));
        }
    }
    Ok(clients)
}

#[async_trait]
impl Client for RedisClient {
    async fn enter(&mut self) -> Result<(), Failure> {
        ENTER.key(&self.key).arg("x").invoke_async(&mut self.connection).await.map_err(failed)
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        LEAVE.key(&self.key).invoke_async(&mut self.connection).await.map_err(failed)
    }
}
