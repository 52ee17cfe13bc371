//! The suite, on three etcd servers; without the trials that break the network between a client and its server.

use std::error::Error;
use std::process::ExitCode;

use backend_etcd::{EtcdFactory, SCHEME};
use conformance::UrlFixture;
use conformance::server::EtcdCluster;
use lockcore::Registry;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, EtcdFactory), |registry| {
        let cluster = Runtime::new()?.block_on(EtcdCluster::start())?;
        let url = format!("{SCHEME}://{}/conformance?session_timeout=3s", cluster.addresses().join(","));
        Ok::<_, Box<dyn Error>>(UrlFixture::new(registry, &url)?.with_server(cluster))
    })
}
