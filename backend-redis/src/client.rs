//! How to reach one server.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates, TlsMode,
};
// Chosen here, because the client library leaves it to others.
use rustls as _;

use crate::options::{Credentials, RedisOptions, Tls};

pub(crate) fn client(server: &str, options: &RedisOptions) -> RedisResult<Client> {
    let info = info(server, options)?;
    match &options.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)),
        None => Client::open(info),
    }
}

/// A sentinel, and the master that it watches.
pub(crate) fn sentinel(server: &str, master: &str, options: &RedisOptions) -> RedisResult<SentinelClient> {
    let addresses = [address(server, options)?];
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

pub(crate) fn info(server: &str, options: &RedisOptions) -> RedisResult<ConnectionInfo> {
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
pub(crate) fn tcp_settings(options: &RedisOptions) -> TcpSettings {
    let patience = options.patience();
    let probes = TcpKeepalive::new().with_time(patience.max(Duration::from_secs(1)));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let settings = settings.set_user_timeout(2 * patience);
    settings
}

pub(crate) fn certificates(tls: &Tls) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: tls.authorities.clone() }
}
