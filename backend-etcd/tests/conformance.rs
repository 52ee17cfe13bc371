//! The suite, on a real etcd.

use std::error::Error;
use std::process::ExitCode;

use async_trait::async_trait;
use backend_etcd::{EtcdFactory, SCHEME};
use conformance::server::{Etcd, ServerKind};
use conformance::{Operator, UrlFixture};
use etcd_client::{Client, GetOptions};
use lockcore::{EntryId, ErrorKind, LockKey, Registry, Result};
use tokio::runtime::Runtime;

/// Somebody with a shell of etcd's.
#[derive(Debug)]
struct Shell {
    address: String,
}

#[async_trait]
impl Operator for Shell {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "the shell failed").with_source(error);
        let mut client = Client::connect([&self.address], None).await.map_err(failed)?;
        let prefix = format!("/conformance/{}/{}/", lock.family, lock.name.encode());
        let entries = client.get(prefix, Some(GetOptions::new().with_prefix())).await.map_err(failed)?;
        for entry in entries.kvs().iter().filter(|entry| entry.value().starts_with(id.as_str().as_bytes())) {
            client.delete(entry.key(), None).await.map_err(failed)?;
        }
        Ok(())
    }
}

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
