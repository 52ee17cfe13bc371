//! The suite, on three etcd servers, each behind a proxy for each client.

mod operator;

use std::error::Error;
use std::process::ExitCode;

use backend_etcd::{EtcdFactory, SCHEME};
use conformance::UrlFixture;
use conformance::server::EtcdCluster;
use lockcore::Registry;
use tokio::runtime::Runtime;

use operator::Shell;

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, EtcdFactory), |registry| {
        let cluster = Runtime::new()?.block_on(EtcdCluster::start())?;
        let url = format!("{SCHEME}://{}/conformance?session_timeout=3s", cluster.addresses().join(","));
        let shell = Shell { address: cluster.addresses()[0].to_owned() };
        let fixture = UrlFixture::new(registry, &url)?.with_members_behind_proxies().with_operator(shell);
        Ok::<_, Box<dyn Error>>(fixture.with_server(cluster))
    })
}
