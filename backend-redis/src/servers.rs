//! The servers, whatever their topology: how to get a connection to the one that serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_ok;
use lockcore::{Error, Result};
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisResult, TlsMode};

use crate::client::{certificates, client, info, sentinel, tcp_settings};
use crate::error::error;
use crate::link::Link;
use crate::options::{RedisOptions, Topology};
use crate::redirects::Redirects;

/// The servers, and what they are called in errors.
pub(crate) struct Servers {
    name: String,
    access: Access,
}

enum Access {
    Single(Box<Client>),
    Sentinel { sentinels: Vec<String>, master: String, options: Box<RedisOptions> },
    Cluster { client: Box<ClusterClient>, seeds: Vec<Client>, options: Box<RedisOptions> },
}

impl Servers {
    pub(crate) fn new(options: &RedisOptions) -> Result<Self> {
        let name = options.topology.to_string();
        let access = match &options.topology {
            Topology::Single { server } => {
                client(server, options).map(|client| Access::Single(Box::new(client)))
            }
            Topology::Sentinel { sentinels, master } => under_sentinels(sentinels, master, options),
            Topology::Cluster { seeds } => cluster(seeds, options),
        };
        match access {
            Ok(access) => Ok(Self { name, access }),
            Err(source) => Err(error(source, &format!("connection to {name}"))),
        }
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
    pub(crate) async fn connect(&self, patience: Duration) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_pipeline_buffer_size(1024);
        let client = match &self.access {
            Access::Single(client) => (**client).clone(),
            Access::Sentinel { sentinels, master, options } => find(sentinels, master, options).await?,
            Access::Cluster { client, options, .. } => {
                let redirects = Arc::new(Redirects::new((**options).clone(), config));
                return Ok(Link::Cluster(client.get_async_connection().await?, redirects));
            }
        };
        client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
    }

    /// Where messages may be heard. Every node of a cluster passes them on to all others; `members` are those that one of them
    /// knows of, because the seeds may all have left.
    pub(crate) async fn listeners(&self, members: &str) -> RedisResult<Vec<Client>> {
        match &self.access {
            Access::Single(client) => Ok(vec![(**client).clone()]),
            Access::Sentinel { sentinels, master, options } => {
                Ok(vec![find(sentinels, master, options).await?])
            }
            Access::Cluster { seeds, options, .. } => {
                let members = members.lines().filter_map(|line| client(member(line)?, options).ok());
                Ok(seeds.iter().cloned().chain(members).collect())
            }
        }
    }

    /// Whether they are a cluster.
    pub(crate) fn are_cluster(&self) -> bool {
        matches!(self.access, Access::Cluster { .. })
    }
}

/// The address in a line of `CLUSTER NODES`: `<id> <host>:<port>@<bus port>[,<hostname>] <flags> …`.
fn member(line: &str) -> Option<&str> {
    let (address, _) = line.split(' ').nth(1)?.split_once('@')?;
    (!address.starts_with(':')).then_some(address)
}

/// The master that the first sentinel names whose word is true. All are asked at once, because any of them may be silent.
async fn find(sentinels: &[String], master: &str, options: &RedisOptions) -> RedisResult<Client> {
    let asked = sentinels
        .iter()
        .map(|server| Box::pin(async move { sentinel(server, master, options)?.async_get_client().await }));
    select_ok(asked).await.map(|(client, _)| client)
}

fn under_sentinels(sentinels: &[String], master: &str, options: &RedisOptions) -> RedisResult<Access> {
    if sentinels.is_empty() {
        return Err((ErrorKind::EmptySentinelList, "no sentinel is given").into());
    }
    sentinels.iter().try_for_each(|server| sentinel(server, master, options).map(drop))?;
    let (sentinels, master) = (sentinels.to_vec(), master.to_owned());
    Ok(Access::Sentinel { sentinels, master, options: Box::new(options.clone()) })
}

fn cluster(seeds: &[String], options: &RedisOptions) -> RedisResult<Access> {
    let infos = seeds.iter().map(|server| info(server, options)).collect::<RedisResult<Vec<_>>>()?;
    let mut builder = ClusterClient::builder(infos)
        // Nothing is sent twice without our knowing.
        .retries(0)
        .connection_timeout(options.patience())
        .response_timeout(options.patience())
        .tcp_settings(tcp_settings(options));
    if let Some(tls) = &options.tls {
        builder = builder.tls(TlsMode::Secure).certs(certificates(tls));
    }
    let seeds = seeds.iter().map(|server| client(server, options)).collect::<RedisResult<Vec<_>>>()?;
    Ok(Access::Cluster { client: Box::new(builder.build()?), seeds, options: Box::new(options.clone()) })
}
