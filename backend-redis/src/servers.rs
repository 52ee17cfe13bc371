//! The servers, whatever their topology: how to get a connection to the one that serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_ok;
use lockcore::{Effect, Error, Result, tls};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisResult};

use crate::client::Access;
use crate::error::error;
use crate::link::Link;
use crate::options::{RedisOptions, Topology};
use crate::redirects::Redirects;

/// The servers, and what they are called in errors.
pub(crate) struct Servers {
    name: String,
    options: RedisOptions,
}

impl Servers {
    pub(crate) fn new(options: &RedisOptions) -> Self {
        Self { name: options.topology.to_string(), options: options.clone() }
    }

    /// What an error says of something that was asked of these servers.
    pub(crate) fn context(&self, purpose: impl fmt::Display) -> String {
        format!("{purpose} on {}", self.name)
    }

    /// The error of what was given up because nobody answered.
    pub(crate) fn silent(&self, purpose: impl fmt::Display) -> Error {
        Error::new(
            lockcore::ErrorKind::Unreachable,
            format!("{}: no answer in time: see whether it runs and can be reached", self.context(purpose)),
        )
    }

    /// A new connection for requests, each of which may take as long as `patience`.
    pub(crate) async fn connect(&self, patience: Duration) -> Result<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_pipeline_buffer_size(1024);
        let failure = match self.link(Access::read(&self.options)?, config).await {
            Ok(link) => return Ok(link),
            Err(source) => error(source, &self.context("connection")),
        };
        let refusal = if failure.is_retryable() { self.refusal().await } else { None };
        Err(refusal.unwrap_or(failure).with_effect(Effect::None))
    }

    /// Why TLS is refused, if it is with all of them. The client library does not always tell.
    async fn refusal(&self) -> Option<Error> {
        let servers = match &self.options.topology {
            Topology::Single { server } => std::slice::from_ref(server),
            Topology::Sentinel { sentinels: servers, .. } | Topology::Cluster { seeds: servers } => servers,
        };
        let (files, mut refused) = (self.options.tls.as_ref()?, None);
        for server in servers {
            refused = Some(tls::why_refused(server, None, files).await?);
        }
        refused.map(|refused| refused.with_context(self.context("connection")))
    }

    async fn link(&self, access: Access, config: AsyncConnectionConfig) -> RedisResult<Link> {
        let client = match &self.options.topology {
            Topology::Single { server } => access.client(server)?,
            Topology::Sentinel { sentinels, master } => find(&access, sentinels, master).await?,
            Topology::Cluster { seeds } => {
                let link = access.cluster(seeds)?.get_async_connection().await?;
                return Ok(Link::Cluster(link, Arc::new(Redirects::new(access, config))));
            }
        };
        client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
    }

    /// Where messages may be heard. Every node of a cluster passes them on to all others; `members` are those that one of them
    /// knows of, because the seeds may all have left.
    pub(crate) async fn listeners(&self, members: &str) -> Result<Vec<Client>> {
        let access = Access::read(&self.options)?;
        let listeners = match &self.options.topology {
            Topology::Single { server } => access.client(server).map(|client| vec![client]),
            Topology::Sentinel { sentinels, master } => {
                find(&access, sentinels, master).await.map(|client| vec![client])
            }
            Topology::Cluster { seeds } => {
                let members = members.lines().filter_map(member);
                let nodes = seeds.iter().map(String::as_str).chain(members);
                Ok(nodes.filter_map(|node| access.client(node).ok()).collect())
            }
        };
        listeners.map_err(|source| error(source, &self.context("subscription")).with_effect(Effect::None))
    }

    /// Whether they are a cluster.
    pub(crate) fn are_cluster(&self) -> bool {
        matches!(self.options.topology, Topology::Cluster { .. })
    }
}

/// The address in a line of `CLUSTER NODES`: `<id> <host>:<port>@<bus port>[,<hostname>] <flags> …`.
fn member(line: &str) -> Option<&str> {
    let (address, _) = line.split(' ').nth(1)?.split_once('@')?;
    (!address.starts_with(':')).then_some(address)
}

/// The master that the first sentinel names whose word is true. All are asked at once, because any of them may be silent.
async fn find(access: &Access, sentinels: &[String], master: &str) -> RedisResult<Client> {
    if sentinels.is_empty() {
        return Err((ErrorKind::EmptySentinelList, "no sentinel is given").into());
    }
    let asked = sentinels
        .iter()
        .map(|server| Box::pin(async move { access.sentinel(server, master)?.async_get_client().await }));
    select_ok(asked).await.map(|(client, _)| client)
}
