//! The suite, on a real PostgreSQL.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use backend_postgres::{PostgresFactory, SCHEMES};
use conformance::server::{Postgres, ServerKind};
use conformance::{Operator, UrlFixture};
use lockcore::{EntryId, ErrorKind, LockKey, Registry, Result};
use tokio::runtime::Runtime;

/// Somebody with a shell of PostgreSQL's.
#[derive(Debug)]
struct Shell {
    server: Arc<Postgres>,
}

#[async_trait]
impl Operator for Shell {
    async fn remove_entry(&self, _lock: &LockKey, id: &EntryId) -> Result<()> {
        let failed = |error| lockcore::Error::new(ErrorKind::Backend, "the shell failed").with_source(error);
        let delete = format!("DELETE FROM conformance.entry WHERE id = '{id}'");
        self.server.sql(&delete).await.map(drop).map_err(failed)
    }
}

fn main() -> ExitCode {
    let registry =
        SCHEMES.into_iter().fold(Registry::new(), |registry, scheme| registry.with(scheme, PostgresFactory));
    conformance::main(registry, |registry| {
        let server = Arc::new(Runtime::new()?.block_on(Postgres::given_or_start())?);
        let address = server.address();
        let url = format!(
            "postgres://postgres@{address}/postgres?schema=conformance&session_timeout=3s&sslmode=disable"
        );
        let shell = Shell { server: server.clone() };
        let fixture = UrlFixture::new(registry, &url)?.with_operator(shell).with_server(server);
        let fixture = fixture.with_servers(ServerKind::Postgres);
        Ok::<_, Box<dyn Error>>(fixture)
    })
}
