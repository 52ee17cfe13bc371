//! The floor of ZooKeeper: a node is made while its directory is listed, then it is removed.

use async_trait::async_trait;
use fairlock::{EntryId, LockUrl};
use lockcore::Credentials;
use zookeeper_client::{Acls, CreateMode, CreateOptions, Error};

use super::{Client, Shape, failed};
use crate::exit::Failure;

struct ZooKeeperClient {
    client: zookeeper_client::Client,
    directory: String,
    entry: Option<String>,
}

/// Directories disappear by themselves when they are empty for a while.
const DIRECTORY: CreateOptions<'static> = CreateMode::Container.with_acls(Acls::anyone_all());
const ENTRY: CreateOptions<'static> = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());

async fn connect(url: &LockUrl) -> Result<zookeeper_client::Client, Failure> {
    let mut connector = zookeeper_client::Client::connector();
    if let Some(login) = Credentials::of(url)? {
        let digest = format!("{}:{}", login.user(), login.password()?.unwrap_or_default());
        connector = connector.with_auth("digest", digest.as_bytes());
    } else if let Some((scheme, auth)) = url.option("auth").and_then(|auth| auth.split_once(':')) {
        connector = connector.with_auth(scheme, auth.as_bytes());
    }
    connector.connect(&url.endpoints(2181)?.join(",")).await.map_err(failed)
}

pub(super) async fn clients(url: &LockUrl, shape: Shape) -> Result<Vec<Box<dyn Client>>, Failure> {
    let mut clients: Vec<Box<dyn Client>> = Vec::new();
    let root = format!("{}/fairlock-bench-{}", url.path().trim_end_matches('/'), EntryId::random());
    for _ in 0..shape.connections {
        let client = connect(url).await?;
        for _ in 0..shape.tasks_each {
            let directory = format!("{root}/{}", shape.lock_of(clients.len() as u32));
            client.mkdir(&directory, &DIRECTORY).await.map_err(failed)?;
            clients.push(Box::new(ZooKeeperClient { client: client.clone(), directory, entry: None }));
        }
    }
    Ok(clients)
}

impl ZooKeeperClient {
    /// Makes a node and lists its directory: sent back to back, in the order in which they are made.
    async fn create(&self) -> Result<String, Error> {
        let path = format!("{}/e-", self.directory);
        let create = self.client.create(&path, b"", &ENTRY);
        let list = self.client.list_children(&self.directory);
        let (created, listed) = futures::future::join(create, list).await;
        let (_, sequence) = created?;
        listed.map(|_| format!("{path}{sequence}"))
    }
}

#[async_trait]
impl Client for ZooKeeperClient {
    async fn enter(&mut self) -> Result<(), Failure> {
        loop {
            match self.create().await {
                Ok(entry) => break self.entry = Some(entry),
                // The server had found the directory empty.
                Err(Error::NoNode) => self.client.mkdir(&self.directory, &DIRECTORY).await.map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        match self.entry.take() {
            Some(entry) => self.client.delete(&entry, None).await.map_err(failed),
            None => Ok(()),
        }
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let parent = self.directory.rsplit_once('/').map_or("", |(parent, _)| parent);
        for directory in [&*self.directory, parent] {
            match self.client.delete(directory, None).await {
                Ok(()) | Err(Error::NoNode | Error::NotEmpty) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}
