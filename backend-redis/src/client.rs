//! How to reach servers, with the secrets and certificates that there are now.

use std::time::Duration;

use lockcore::{Credentials, Result, host_and_port, tls};
use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};

use crate::options::RedisOptions;

/// How to reach servers: the options, with what has been read from files and variables.
pub(crate) struct Access {
    options: RedisOptions,
    login: Option<Login>,
    sentinel_login: Option<Login>,
    certificates: Option<TlsCertificates>,
}

struct Login {
    user: Option<String>,
    password: String,
}

impl Login {
    fn read(credentials: &Option<Credentials>) -> Result<Option<Self>> {
        let Some(credentials) = credentials else { return Ok(None) };
        let user = Some(credentials.user()).filter(|user| !user.is_empty()).map(str::to_owned);
        Ok(credentials.password()?.map(|password| Self { user, password }))
    }
}

impl Access {
    /// Reads what is needed.
    pub(crate) fn read(options: &RedisOptions) -> Result<Self> {
        let certificates = match &options.tls {
            None => None,
            Some(files) => {
                tls::choose_provider();
                let client_tls = files
                    .identity()?
                    .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
                Some(TlsCertificates { client_tls, root_cert: files.authority()? })
            }
        };
        Ok(Self {
            login: Login::read(&options.credentials)?,
            sentinel_login: Login::read(&options.sentinel_credentials)?,
            certificates,
            options: options.clone(),
        })
    }

    pub(crate) fn client(&self, server: &str) -> RedisResult<Client> {
        let info = self.info(server)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// A sentinel, and the master that it watches.
    pub(crate) fn sentinel(&self, server: &str, master: &str) -> RedisResult<SentinelClient> {
        let addresses = [self.address(server)?];
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
            .set_client_to_redis_tcp_settings(self.tcp_settings())
            .set_client_to_sentinel_tcp_settings(self.tcp_settings());
        if let Some(Login { user, password }) = &self.login {
            builder = builder.set_client_to_redis_password(password);
            if let Some(user) = user {
                builder = builder.set_client_to_redis_username(user);
            }
        }
        if let Some(Login { user, password }) = &self.sentinel_login {
            builder = builder.set_client_to_sentinel_password(password);
            if let Some(user) = user {
                builder = builder.set_client_to_sentinel_username(user);
            }
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }

    /// The cluster to which these servers belong.
    pub(crate) fn cluster(&self, seeds: &[String]) -> RedisResult<ClusterClient> {
        let infos = seeds.iter().map(|server| self.info(server)).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(infos)
            // Nothing is sent twice without our knowing.
            .retries(0)
            .connection_timeout(self.options.patience())
            .response_timeout(self.options.patience())
            .tcp_settings(self.tcp_settings());
        if let Some(certificates) = &self.certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()
    }

    fn address(&self, server: &str) -> RedisResult<ConnectionAddr> {
        let (host, Some(port)) = host_and_port(server) else {
            let what = (ErrorKind::InvalidClientConfig, "expected host:port", server.to_owned());
            return Err(what.into());
        };
        let host = host.to_owned();
        Ok(match self.certificates {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        })
    }

    fn info(&self, server: &str) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default().set_db(self.options.database);
        if let Some(Login { user, password }) = &self.login {
            settings = settings.set_password(password);
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
        }
        let info = self.address(server)?.into_connection_info()?;
        Ok(info.set_redis_settings(settings).set_tcp_settings(self.tcp_settings()))
    }

    /// The kernel notices a dead connection while nothing is sent, and while what is sent is not acknowledged.
    fn tcp_settings(&self) -> TcpSettings {
        let patience = self.options.patience();
        let probes = TcpKeepalive::new().with_time(patience.max(Duration::from_secs(1)));
        let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let settings = settings.set_user_timeout(2 * patience);
        settings
    }
}
