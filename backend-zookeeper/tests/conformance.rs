//! The suite, on a real ZooKeeper.

use std::error::Error;
use std::process::ExitCode;

use async_trait::async_trait;
use backend_zookeeper::{SCHEME, ZooKeeperFactory};
use conformance::server::{ServerKind, ZooKeeper};
use conformance::{Operator, UrlFixture};
use lockcore::{EntryId, ErrorKind, LockKey, Registry, Result};
use tokio::runtime::Runtime;
use zookeeper_client::Client;

/// Somebody with a shell of ZooKeeper's.
#[derive(Debug)]
struct Shell {
    address: String,
}

#[async_trait]
impl Operator for Shell {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "the shell failed").with_source(error);
        let client = Client::connect(&self.address).await.map_err(failed)?;
        let directory = format!("/conformance/_zklocking/{}", lock.name.encode());
        for node in client.list_children(&directory).await.map_err(failed)? {
            let path = format!("{directory}/{node}");
            let (data, _) = client.get_data(&path).await.map_err(failed)?;
            if data.starts_with(id.as_str().as_bytes()) {
                client.delete(&path, None).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    conformance::main(Registry::new().with(SCHEME, ZooKeeperFactory), |registry| {
        let server = Runtime::new()?.block_on(ZooKeeper::given_or_start())?;
        let url = format!("{SCHEME}://{}/conformance?session_timeout=3s", server.address());
        let shell = Shell { address: server.address().to_owned() };
        let fixture = UrlFixture::new(registry, &url)?.with_operator(shell).with_server(server);
        let fixture = fixture.with_servers(ServerKind::ZooKeeper);
        Ok::<_, Box<dyn Error>>(fixture)
    })
}
