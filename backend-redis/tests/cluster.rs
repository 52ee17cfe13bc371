//! The suite, on a Redis Cluster of three masters.

use std::error::Error;
use std::process::ExitCode;

use backend_redis::{RedisFactory, SCHEMES};
use conformance::UrlFixture;
use conformance::server::RedisCluster;
use lockcore::Registry;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let registry =
        SCHEMES.into_iter().fold(Registry::new(), |known, scheme| known.with(scheme, RedisFactory));
    conformance::main(registry, |registry| {
        let cluster = Runtime::new()?.block_on(RedisCluster::start())?;
        let url = format!("redis+cluster://{}?session_timeout=3s", cluster.addresses().join(","));
        Ok::<_, Box<dyn Error>>(UrlFixture::new(registry, &url)?.with_server(cluster))
    })
}
