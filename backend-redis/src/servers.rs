//! The servers, whatever their topology: how to get a connection to the one that serves.

use std::time::Duration;

use lockcore::Result;
use redis::aio::PubSub;
use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};
// Chosen here, because the client library leaves it to others.
use rustls as _;
use tokio::sync::Mutex;

use crate::error::error;
use crate::link::Link;
use crate::options::{Credentials, RedisOptions, Tls, Topology};

/// How often the cluster's client library repeats a request by itself, which our scripts allow.
const CLUSTER_RETRIES: u32 = 3;

/// The servers.
pub(crate) enum Servers {
    Single(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster { client: Box<ClusterClient>, seeds: Vec<Client> },
}

impl Servers {
    pub(crate) fn new(options: &RedisOptions) -> Result<Self> {
        let servers = match &options.topology {
            Topology::Single { server } => {
                client(server, options).map(|client| Servers::Single(Box::new(client)))
            }
            Topology::Sentinel { sentinels, master } => sentinel(sentinels, master, options)
                .map(|client| Servers::Sentinel(Box::new(Mutex::new(client)))),
            Topology::Cluster { seeds } => cluster(seeds, options),
        };
        servers.map_err(error)
    }

    /// A new connection for requests, each of which may take as long as `patience`.
    pub(crate) async fn connect(&self, patience: Duration) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_pipeline_buffer_size(1024);
        match self {
            Servers::Single(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
            }
            Servers::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
            }
            Servers::Cluster { client, .. } => client.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// A new connection for messages. Every node of a cluster passes them on to all others.
    pub(crate) async fn listen(&self) -> RedisResult<PubSub> {
        match self {
            Servers::Single(client) => client.get_async_pubsub().await,
            Servers::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_async_pubsub().await
            }
            Servers::Cluster { seeds, .. } => {
                let attempts = seeds.iter().map(|seed| Box::pin(seed.get_async_pubsub()));
                futures::future::select_ok(attempts).await.map(|(pubsub, _)| pubsub)
            }
        }
    }

    /// Whether requests may be repeated without our knowing.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self, Servers::Cluster { .. })
    }
}

fn client(server: &str, options: &RedisOptions) -> RedisResult<Client> {
    let info = info(server, options)?;
    match &options.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)),
        None => Client::open(info),
    }
}

fn sentinel(sentinels: &[String], master: &str, options: &RedisOptions) -> RedisResult<SentinelClient> {
    let addresses =
        sentinels.iter().map(|server| address(server, options)).collect::<RedisResult<Vec<_>>>()?;
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_tcp_settings(tcp_settings(options))
        .set_client_to_sentinel_tcp_settings(tcp_settings(options));
    if let Some(Credentials { user, password }) = &options.credentials {
        builder = builder.set_client_to_redis_password(password);
        if !user.is_empty() {
            builder = builder.set_client_to_redis_username(user);
        }
    }
    if let Some(tls) = &options.tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates(tls))
            .set_client_to_sentinel_certificates(certificates(tls));
    }
    builder.build()
}

fn cluster(seeds: &[String], options: &RedisOptions) -> RedisResult<Servers> {
    let infos = seeds.iter().map(|server| info(server, options)).collect::<RedisResult<Vec<_>>>()?;
    let mut builder = ClusterClient::builder(infos)
        .retries(CLUSTER_RETRIES)
        .max_retry_wait(100)
        .min_retry_wait(10)
        .connection_timeout(options.patience())
        .response_timeout(options.patience())
        .tcp_settings(tcp_settings(options));
    if let Some(tls) = &options.tls {
        builder = builder.tls(TlsMode::Secure).certs(certificates(tls));
    }
    let seeds = seeds.iter().map(|server| client(server, options)).collect::<RedisResult<Vec<_>>>()?;
    Ok(Servers::Cluster { client: Box::new(builder.build()?), seeds })
}

fn address(server: &str, options: &RedisOptions) -> RedisResult<ConnectionAddr> {
    let parts = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts else {
        let what = (ErrorKind::InvalidClientConfig, "expected host:port", server.to_owned());
        return Err(what.into());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(match options.tls {
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        None => ConnectionAddr::Tcp(host, port),
    })
}

fn info(server: &str, options: &RedisOptions) -> RedisResult<ConnectionInfo> {
    let mut settings = RedisConnectionInfo::default().set_db(options.database);
    if let Some(Credentials { user, password }) = &options.credentials {
        settings = settings.set_password(password);
        if !user.is_empty() {
            settings = settings.set_username(user);
        }
    }
    let info = address(server, options)?.into_connection_info()?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings(options)))
}

/// The kernel notices a dead connection while nothing is sent, and while what is sent is not acknowledged.
fn tcp_settings(options: &RedisOptions) -> TcpSettings {
    let patience = options.patience();
    let probes = TcpKeepalive::new().with_time(patience.max(Duration::from_secs(1)));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let settings = settings.set_user_timeout(2 * patience);
    settings
}

fn certificates(tls: &Tls) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: tls.authorities.clone() }
}
