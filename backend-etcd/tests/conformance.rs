//! The suite, on a real etcd.

mod operator;

use std::error::Error;
use std::process::ExitCode;

use backend_etcd::{EtcdFactory, SCHEME};
use conformance::UrlFixture;
use conformance::server::{Etcd, ServerKind};
use lockcore::Registry;
use tokio::runtime::Runtime;

use operator::Shell;

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, EtcdFactory), |registry| {
        let server = Runtime::new()?.block_on(Etcd::given_or_start())?;
        let url = format!("{SCHEME}://{}/conformance?session_timeout=3s", server.address());
        let shell = Shell { address: server.address().to_owned() };
        let fixture = UrlFixture::new(registry, &url)?.with_operator(shell).with_server(server);
        let fixture = fixture.with_servers(ServerKind::Etcd);
        Ok::<_, Box<dyn Error>>(fixture)
    })
}
