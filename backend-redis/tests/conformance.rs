//! The suite, on a real Redis.

use std::error::Error;
use std::process::ExitCode;

use async_trait::async_trait;
use backend_redis::{RedisFactory, SCHEMES};
use conformance::server::{Redis, ServerKind};
use conformance::{Operator, UrlFixture};
use lockcore::{EntryId, ErrorKind, LockKey, Registry, Result};
use redis::AsyncCommands;
use tokio::runtime::Runtime;

/// Somebody with `redis-cli`, who knows where the queue is, and no more.
#[derive(Debug)]
struct Cli {
    url: String,
}

#[async_trait]
impl Operator for Cli {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "redis-cli failed").with_source(error);
        let client = redis::Client::open(&*self.url).map_err(failed)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
        let queue = format!("conformance:{{{}:{}}}:queue", lock.family, lock.name.encode());
        connection.zrem(queue, id.as_str()).await.map_err(failed)
    }
}

fn main() -> ExitCode {
    let registry =
        SCHEMES.into_iter().fold(Registry::new(), |known, scheme| known.with(scheme, RedisFactory));
    conformance::main(registry, |registry| {
        let server = Runtime::new()?.block_on(Redis::given_or_start())?;
        let base = format!("redis://{}/0", server.address());
        let url = format!("{base}?session_timeout=3s&prefix=conformance:");
        let fixture = UrlFixture::new(registry, &url)?.with_operator(Cli { url: base }).with_server(server);
        let fixture = fixture.with_servers(ServerKind::Redis);
        Ok::<_, Box<dyn Error>>(fixture)
    })
}
