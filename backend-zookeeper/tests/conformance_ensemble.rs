//! The suite, on three ZooKeeper servers, each behind a proxy for each client.

mod operator;

use std::error::Error;
use std::process::ExitCode;

use backend_zookeeper::{SCHEME, ZooKeeperFactory};
use conformance::UrlFixture;
use conformance::server::Ensemble;
use lockcore::Registry;
use tokio::runtime::Runtime;

use operator::Shell;

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, ZooKeeperFactory), |registry| {
        let ensemble = Runtime::new()?.block_on(Ensemble::start())?;
        let url = format!("{SCHEME}://{}/conformance?session_timeout=6s", ensemble.addresses().join(","));
        let shell = Shell { address: ensemble.addresses()[0].to_owned() };
        let fixture = UrlFixture::new(registry, &url)?.with_members_behind_proxies().with_operator(shell);
        Ok::<_, Box<dyn Error>>(fixture.with_server(ensemble))
    })
}
