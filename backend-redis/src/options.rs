//! Which servers, where on them, and as whom.

use std::fmt;
use std::time::Duration;

use lockcore::{
    Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Error, ErrorKind, LockUrl, Result, Secret,
    TlsFiles, UrlOption,
};

/// The schemes of URLs that mean Redis; `rediss` is `redis` with TLS.
pub const SCHEMES: [&str; 4] = ["redis", "rediss", "redis+sentinel", "redis+cluster"];

/// The options of URLs.
pub const OPTIONS: [UrlOption; 15] = [
    UrlOption::SESSION_TIMEOUT,
    UrlOption::CONNECT_TIMEOUT,
    UrlOption::PASSWORD,
    UrlOption::PASSWORD_FILE,
    UrlOption::PASSWORD_ENV,
    UrlOption::new(
        "sentinel_user",
        "",
        "as whom sentinels are asked; the user of the servers is not known to them",
    ),
    UrlOption::new("sentinel_password", "", "the password for sentinels; without it they are asked without"),
    UrlOption::new("sentinel_password_file", "", "a file with it, which is read again for each session"),
    UrlOption::new(
        "sentinel_password_env",
        "",
        "an environment variable with it, which is read again for each session",
    ),
    UrlOption::new("prefix", DEFAULT_PREFIX, "what all keys begin with"),
    UrlOption::new(
        "wait_replicas",
        "0",
        "replicas that have to confirm an entry; makes losses in a failover rarer, does not exclude them",
    ),
    UrlOption::TLS,
    UrlOption::CA,
    UrlOption::CERT,
    UrlOption::KEY,
];

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;
const DEFAULT_PREFIX: &str = "fairlock:";

/// Which servers, where on them, and as whom. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    pub(crate) topology: Topology,
    pub(crate) database: i64,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) sentinel_credentials: Option<Credentials>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) prefix: String,
    pub(crate) session_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) wait_replicas: u32,
}

/// What stands at the addresses, each `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    Single { server: String },
    Sentinel { sentinels: Vec<String>, master: String },
    Cluster { seeds: Vec<String> },
}

impl Topology {
    /// The same servers, in an order that does not depend on who wrote them down.
    pub(crate) fn sorted(&self) -> Self {
        let mut sorted = self.clone();
        match &mut sorted {
            Self::Single { .. } => {}
            Self::Sentinel { sentinels: servers, .. } | Self::Cluster { seeds: servers } => {
                servers.sort_unstable()
            }
        }
        sorted
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topology::Single { server } => f.write_str(server),
            Topology::Sentinel { sentinels, master } => {
                write!(f, "{master} (of the sentinels {})", sentinels.join(", "))
            }
            Topology::Cluster { seeds } => write!(f, "the cluster of {}", seeds.join(", ")),
        }
    }
}

impl RedisOptions {
    /// One server, as `host:port`; everything else by default: database 0, the prefix `fairlock:`, a session timeout
    /// of 10 s, a connect timeout of 5 s, no authentication, no TLS.
    pub fn new(server: impl Into<String>) -> Self {
        Self::at(Topology::Single { server: server.into() })
    }

    /// The master of this name, which these sentinels watch, each as `host:port`.
    pub fn sentinel<S: Into<String>>(
        sentinels: impl IntoIterator<Item = S>,
        master: impl Into<String>,
    ) -> Self {
        let sentinels = sentinels.into_iter().map(Into::into).collect();
        Self::at(Topology::Sentinel { sentinels, master: master.into() })
    }

    /// The cluster to which these servers belong, each as `host:port`.
    pub fn cluster<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> Self {
        Self::at(Topology::Cluster { seeds: seeds.into_iter().map(Into::into).collect() })
    }

    fn at(topology: Topology) -> Self {
        Self {
            topology,
            database: 0,
            credentials: None,
            sentinel_credentials: None,
            tls: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            wait_replicas: 0,
        }
    }

    /// The options of a URL:
    ///
    /// * `redis://user:password@host:6379/0`, with TLS `rediss://…`,
    /// * `redis+sentinel://h1:26379,h2:26379/master`,
    /// * `redis+cluster://h1:6379,h2:6379`,
    ///
    /// each with [`OPTIONS`](crate::OPTIONS), such as `?session_timeout=10s&tls=true`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options(&OPTIONS)?;
        let mut parsed = Self::at(topology(url)?)
            .with_session_timeout(options.duration("session_timeout")?)
            .with_connect_timeout(options.duration("connect_timeout")?)
            .with_prefix(options.text("prefix").unwrap_or_default())?
            .with_wait_replicas(options.number("wait_replicas")?);
        parsed.database = database(url)?;
        parsed.credentials = with_password(options.credentials()?)?;
        let (user, password) = (options.text("sentinel_user"), options.secret("sentinel_password")?);
        let given = user.is_some() || password.is_some();
        let sentinel = given.then(|| Credentials::new(user.unwrap_or_default(), password));
        parsed.sentinel_credentials = with_password(sentinel)?;
        if given && !matches!(parsed.topology, Topology::Sentinel { .. }) {
            return Err(invalid("the options sentinel_… need sentinels: redis+sentinel://"));
        }
        parsed.tls = options.tls(url.scheme() == "rediss")?;
        Ok(parsed)
    }

    /// The number of the database, on servers that are not in a cluster.
    #[must_use]
    pub fn with_database(self, database: u16) -> Self {
        Self { database: database.into(), ..self }
    }

    /// Authenticates; an empty user is the user `default`. Sentinels are asked [without](Self::with_sentinel_credentials).
    #[must_use]
    pub fn with_credentials(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.credentials = Some(Credentials::new(user, Some(password.into())));
        self
    }

    /// Authenticates to sentinels; an empty user is the user `default`.
    #[must_use]
    pub fn with_sentinel_credentials(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.sentinel_credentials = Some(Credentials::new(user, Some(password.into())));
        self
    }

    /// Talks to the servers, and to sentinels, through TLS.
    #[must_use]
    pub fn with_tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// What the names of all keys and channels begin with.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if there is a brace in it: that would decide where a cluster puts
    /// the keys.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self> {
        if prefix.contains(['{', '}']) {
            return Err(invalid(format!("prefix {prefix:?} has a brace in it")));
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// After how long without a renewal the server drops our entries.
    #[must_use]
    pub fn with_session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long to try to reach a server when a session is opened.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many replicas have to confirm an entry (Redis' `WAIT`) before its acquisition goes on. This makes it less
    /// likely that a failover loses the lock, and nothing more: any replica may be promoted, also one that has
    /// not confirmed, and renewals and releases are not waited for.
    #[must_use]
    pub fn with_wait_replicas(self, wait_replicas: u32) -> Self {
        Self { wait_replicas, ..self }
    }

    /// How long one request, or one new connection, may take: a session survives two that fail.
    pub(crate) fn patience(&self) -> Duration {
        (self.session_timeout / 4).min(self.connect_timeout)
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("topology", &self.topology)
            .field("database", &self.database)
            .field("credentials", &self.credentials)
            .field("sentinel_credentials", &self.sentinel_credentials)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("session_timeout", &self.session_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("wait_replicas", &self.wait_replicas)
            .finish_non_exhaustive()
    }
}

fn topology(url: &LockUrl) -> Result<Topology> {
    match url.scheme() {
        "redis+sentinel" => match url.path().strip_prefix('/') {
            Some(master) if !master.is_empty() && !master.contains('/') => Ok(Topology::Sentinel {
                sentinels: url.endpoints(DEFAULT_SENTINEL_PORT)?,
                master: master.to_owned(),
            }),
            _ => {
                Err(invalid("the URL's path is not the name of a master, such as redis+sentinel://host/main"))
            }
        },
        "redis+cluster" => Ok(Topology::Cluster { seeds: url.endpoints(DEFAULT_PORT)? }),
        scheme => match <[String; 1]>::try_from(url.endpoints(DEFAULT_PORT)?) {
            Ok([server]) => Ok(Topology::Single { server }),
            Err(_) => Err(invalid(format!(
                "{scheme}:// takes one host; several are redis+sentinel:// or redis+cluster://"
            ))),
        },
    }
}

fn database(url: &LockUrl) -> Result<i64> {
    let path = url.path().strip_prefix('/').unwrap_or_default();
    match url.scheme() {
        "redis+sentinel" => Ok(0),
        "redis+cluster" if path.is_empty() => Ok(0),
        "redis+cluster" => Err(invalid("a cluster has no databases: the URL must not have a path")),
        _ if path.is_empty() => Ok(0),
        _ => match path.parse::<u16>() {
            Ok(database) => Ok(database.into()),
            Err(_) => Err(invalid(format!("{path:?} is not the number of a database"))),
        },
    }
}

/// The user may be nameless.
fn with_password(credentials: Option<Credentials>) -> Result<Option<Credentials>> {
    match credentials {
        Some(credentials) if !credentials.has_password() => {
            Err(invalid("there is a user without a password"))
        }
        credentials => Ok(credentials),
    }
}

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<RedisOptions> {
        RedisOptions::from_url(&url.parse()?)
    }

    #[test]
    fn defaults() {
        let options = parse("redis://h").unwrap();
        assert_eq!(options, RedisOptions::new("h:6379"));
        assert_eq!((options.session_timeout.as_secs(), options.connect_timeout.as_secs()), (10, 5));
        assert_eq!((&*options.prefix, options.database, options.wait_replicas), ("fairlock:", 0, 0));
        assert_eq!(parse("redis://h:1/").unwrap(), RedisOptions::new("h:1"));
        assert_eq!(parse("rediss://h").unwrap(), RedisOptions::new("h:6379").with_tls(TlsFiles::new()));
    }

    #[test]
    fn everything_given() {
        let options = parse(
            "redis://me:p%40ss@[::1]:99/3?session_timeout=3s&connect_timeout=2s&prefix=app/&wait_replicas=2",
        );
        let expected = RedisOptions::new("[::1]:99")
            .with_database(3)
            .with_credentials("me", "p@ss")
            .with_prefix("app/")
            .unwrap()
            .with_session_timeout(Duration::from_secs(3))
            .with_connect_timeout(Duration::from_secs(2))
            .with_wait_replicas(2);
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn other_topologies() {
        let sentinel = parse("redis+sentinel://:pass@h1,h2:99/main").unwrap();
        let expected = RedisOptions::sentinel(["h1:26379", "h2:99"], "main").with_credentials("", "pass");
        assert_eq!(sentinel, expected);
        let sentinel = parse(
            "redis+sentinel://me@h/main?password_file=/redis&sentinel_user=you&sentinel_password_env=SENTINEL&tls=true&\
             ca=/c/ca.pem&cert=/c/me.pem&key=/c/me.key",
        );
        let files = TlsFiles::new().with_authority("/c/ca.pem").with_certificate("/c/me.pem", "/c/me.key");
        let expected = RedisOptions::sentinel(["h:26379"], "main")
            .with_credentials("me", Secret::in_file("/redis"))
            .with_sentinel_credentials("you", Secret::in_variable("SENTINEL"))
            .with_tls(files);
        assert_eq!(sentinel.unwrap(), expected);
        let cluster = parse("redis+cluster://h1,h2:99?tls=true").unwrap();
        assert_eq!(cluster, RedisOptions::cluster(["h1:6379", "h2:99"]).with_tls(TlsFiles::new()));
    }

    #[test]
    fn mistakes_are_refused_without_telling_secrets() {
        for url in [
            "redis://",
            "redis://h1,h2",
            "redis://h/x",
            "redis://h/1/2",
            "redis://h/-1",
            "redis://h/65536",
            "redis://me@h",
            "redis://me:@h",
            "redis://h?prefix=%7B",
            "redis://h?wait_replicas=-1",
            "redis://h?session_timeout=0s",
            "redis://h?tls=maybe",
            "redis://h?ca=/nowhere.pem",
            "rediss://h?cert=/nowhere.pem",
            "redis://me:secret@h?password_file=/redis",
            "redis://h?password=secret&password_env=REDIS",
            "redis://h?sentinel_password=secret",
            "redis+sentinel://h/main?sentinel_user=me",
            "redis+sentinel://h",
            "redis+sentinel://h/",
            "redis+sentinel://h/a/b",
            "redis+cluster://h/1",
            "redis://me:secret@h?session_timout=1s",
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse("redis://me:secret@h").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn every_option_that_is_declared_is_read() {
        let plain = parse("redis://h").unwrap();
        for UrlOption { name, .. } in OPTIONS {
            let given = parse(&format!("redis://h?{name}=nonsense"));
            assert!(given.map_or(true, |given| given != plain), "{name}");
        }
    }
}
