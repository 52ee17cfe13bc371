//! Addresses of every sort.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::Ipv6Addr;

use backend_redis::{Redis, RedisOptions};
use conformance::proxy::Proxy;
use conformance::server::{self, RedisCluster, RedisSentinel};
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, LockService, Released};

async fn connect(url: &str) -> lockcore::Result<QueueLocks> {
    QueueLocks::connect(Redis::new(RedisOptions::from_url(&url.parse()?)?)).await
}

async fn locks_at(url: String) {
    let locks = connect(&url).await.unwrap();
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_may_have_ipv6_addresses() {
    let server = server::Redis::start().await.unwrap();
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), server.address()).await.unwrap();
    locks_at(format!("redis://{}/1", proxy.address())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_may_have_ipv6_addresses() {
    let servers = RedisSentinel::start().await.unwrap();
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), servers.address()).await.unwrap();
    locks_at(format!("redis+sentinel://[::1]:1,{}/{}", proxy.address(), servers.name())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_cluster_may_have_ipv6_addresses() {
    let cluster = RedisCluster::start().await.unwrap();
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), cluster.addresses()[0]).await.unwrap();
    locks_at(format!("redis+cluster://[::1]:1,{}", proxy.address())).await;
}
