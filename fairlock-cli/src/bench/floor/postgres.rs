//! The floor of PostgreSQL: a row is inserted, then it is deleted.

use std::sync::Arc;

use async_trait::async_trait;
use fairlock::{EntryId, LockUrl};
use lockcore::Credentials;
use tokio_postgres::{Config, NoTls, Statement};

use super::{Client, Shape, failed};
use crate::exit::Failure;

struct PostgresClient {
    client: Arc<tokio_postgres::Client>,
    table: String,
    insert: Statement,
    delete: Statement,
    key: String,
}

pub(in crate::bench) async fn connect(url: &LockUrl) -> Result<tokio_postgres::Client, Failure> {
    let server = url.endpoints(5432)?.remove(0);
    let (host, port) = server.rsplit_once(':').unwrap_or((&server, "5432"));
    let mut config = Config::new();
    config.host(host.trim_matches(['[', ']'])).port(port.parse().unwrap_or(5432));
    if let Some(login) = Credentials::of(url)? {
        config.user(login.user()).password(login.password()?.unwrap_or_default());
    }
    if let Some(database) = url.path().strip_prefix('/').filter(|database| !database.is_empty()) {
        config.dbname(database);
    }
    let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

pub(super) async fn clients(url: &LockUrl, shape: Shape) -> Result<Vec<Box<dyn Client>>, Failure> {
    let mut clients: Vec<Box<dyn Client>> = Vec::new();
    let table = format!("{}.\"bench-{}\"", url.option("schema").unwrap_or("fairlock"), EntryId::random());
    for _ in 0..shape.connections {
        let client = Arc::new(connect(url).await?);
        if clients.is_empty() {
            let create = format!("CREATE TABLE {table} (key text PRIMARY KEY, data text NOT NULL)");
            client.batch_execute(&create).await.map_err(failed)?;
        }
        let prepare = async |text: String| client.prepare(&text).await.map_err(failed);
        let insert = prepare(format!("INSERT INTO {table} VALUES ($1, 'x')")).await?;
        let delete = prepare(format!("DELETE FROM {table} WHERE key = $1")).await?;
        for _ in 0..shape.tasks_each {
            clients.push(Box::new(PostgresClient {
                client: client.clone(),
                table: table.clone(),
                insert: insert.clone(),
                delete: delete.clone(),
                key: clients.len().to_string(),
            }));
        }
    }
    Ok(clients)
}

#[async_trait]
impl Client for PostgresClient {
    async fn enter(&mut self) -> Result<(), Failure> {
        self.client.execute(&self.insert, &[&self.key]).await.map(drop).map_err(failed)
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.client.execute(&self.delete, &[&self.key]).await.map(drop).map_err(failed)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        self.client.batch_execute(&format!("DROP TABLE IF EXISTS {}", self.table)).await.map_err(failed)
    }
}
