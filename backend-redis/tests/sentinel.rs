//! The suite, on a master and a replica that a sentinel watches; every entry waits for the replica.

use std::error::Error;
use std::process::ExitCode;

use backend_redis::{RedisFactory, SCHEMES};
use conformance::UrlFixture;
use conformance::server::RedisSentinel;
use lockcore::Registry;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let registry =
        SCHEMES.into_iter().fold(Registry::new(), |known, scheme| known.with(scheme, RedisFactory));
    conformance::main(registry, |registry| {
        let servers = Runtime::new()?.block_on(RedisSentinel::start())?;
        // Twice, or the fixture would put a proxy in front of the sentinel, where there is nothing to break.
        let (sentinel, master) = (servers.address(), servers.name());
        let url =
            format!("redis+sentinel://{sentinel},{sentinel}/{master}?session_timeout=3s&wait_replicas=1");
        Ok::<_, Box<dyn Error>>(UrlFixture::new(registry, &url)?.with_server(servers))
    })
}
