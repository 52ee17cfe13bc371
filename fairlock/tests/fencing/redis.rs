//! The recipe for Redis.

use async_trait::async_trait;
use conformance::server::Redis;
use fairlock::FencingToken;
use redis::Script;
use redis::aio::MultiplexedConnection;

use crate::holders::{Store, check, write_much};

struct Keys {
    connection: MultiplexedConnection,
    script: Script,
}

#[async_trait]
impl Store for Keys {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        let mut invocation = self.script.key("{orders}:token");
        invocation.key("{orders}:42").arg(token.get()).arg(value);
        invocation.invoke_async::<u32>(&mut self.connection.clone()).await.unwrap() == 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_takes_no_stale_write() {
    let server = Redis::start().await.unwrap();
    let client = redis::Client::open(format!("redis://{}/0", server.address())).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let script = Script::new(include_str!("../../../docs/guide/src/fencing/write.lua"));
    let keys = Keys { connection, script };
    // As numbers of Lua, these would be equal.
    let large = u64::MAX / 2;
    assert!(keys.write(FencingToken::new(large), 0).await);
    assert!(!keys.write(FencingToken::new(large - 1), 0).await);
    redis::cmd("DEL").arg("{orders}:token").exec_async(&mut keys.connection.clone()).await.unwrap();
    check(&write_much(keys).await);
}
