//! Which servers, where on them, as whom, and how they are recognised.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use lockcore::{Error, ErrorKind, LockUrl, Result, UrlOptions};

/// The scheme of URLs that mean etcd.
pub const SCHEME: &str = "etcd";

/// The scheme of URLs that mean etcd behind TLS.
pub const SCHEME_TLS: &str = "etcds";

const DEFAULT_PORT: u16 = 2379;
const DEFAULT_ROOT: &str = "/fairlock";
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// However short the session: a loaded server needs some time to answer.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
/// The longest that etcd grants.
const MAX_TTL: i64 = 9_000_000_000;

/// Which servers, where on them, as whom, and how they are recognised. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    servers: Vec<String>,
    root: String,
    session_timeout: Duration,
    connect_timeout: Duration,
    user: Option<(String, String)>,
    tls: Option<EtcdTls>,
}

/// How the servers are recognised, and how they recognise us. The files are read whenever a connection is made, so
/// that certificates can be renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdTls {
    authority: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    domain: Option<String>,
}

impl EtcdTls {
    /// Servers need a certificate of an authority that this machine trusts, for the name by which we call them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Servers need a certificate of the authority in this PEM file.
    #[must_use]
    pub fn with_authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// We have the certificate in this PEM file, with the private key in the other.
    #[must_use]
    pub fn with_certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((file.into(), key.into()));
        self
    }

    /// The certificates of the servers are for this name.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    fn from_options(options: &UrlOptions<'_>) -> Result<Self> {
        let certificate = match (options.text("cert"), options.text("key")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(invalid("of the options cert and key, one needs the other")),
        };
        let authority = options.text("ca").map(PathBuf::from);
        Ok(Self { authority, certificate, domain: options.text("domain").map(str::to_owned) })
    }

    fn load(&self) -> Result<TlsOptions> {
        let mut tls = match &self.authority {
            Some(file) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(file)?)),
            None => TlsOptions::new().with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.certificate {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(domain) = &self.domain {
            tls = tls.domain_name(domain);
        }
        Ok(tls)
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|source| invalid(format!("{} cannot be read", file.display())).with_source(source))
}

impl EtcdOptions {
    /// The servers, each as `host:port`; everything else by default: the root `/fairlock`, a session timeout of 10 s,
    /// a connect timeout of 5 s, no user, no TLS.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            root: DEFAULT_ROOT.to_owned(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            user: None,
            tls: None,
        }
    }

    /// The options of a URL such as
    /// `etcd://user:password@h1:2379,h2:2379/root?session_timeout=10s&connect_timeout=5s`, or `etcds://` with `ca=`,
    /// `cert=` and `key=` (paths of PEM files) and `domain=` in addition.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options();
        let mut parsed = Self::new(url.endpoints(DEFAULT_PORT)?)
            .with_session_timeout(options.duration("session_timeout", DEFAULT_SESSION_TIMEOUT)?)
            .with_connect_timeout(options.duration("connect_timeout", DEFAULT_CONNECT_TIMEOUT)?);
        if !matches!(url.path(), "" | "/") {
            parsed = parsed.with_root(url.path())?;
        }
        parsed.user = user(url.credentials())?;
        if url.scheme() == SCHEME_TLS {
            parsed.tls = Some(EtcdTls::from_options(&options)?);
        }
        options.finish()?;
        Ok(parsed)
    }

    /// What all keys begin with, such as `/app`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if it is not a path.
    pub fn with_root(mut self, root: &str) -> Result<Self> {
        let root = root.strip_suffix('/').unwrap_or(root);
        let valid = |part: &str| !part.is_empty() && !part.contains(char::is_control);
        match root.strip_prefix('/') {
            Some(path) if path.split('/').all(valid) => root.clone_into(&mut self.root),
            _ => return Err(invalid(format!("root {root:?} is not a path such as /app/locks"))),
        }
        Ok(self)
    }

    /// After how long without a word from us the servers end our session. They count in whole seconds, and may
    /// grant more.
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

    /// Authenticates with a password.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Talks to the servers through TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: EtcdTls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The servers, for messages.
    pub(crate) fn servers(&self) -> String {
        self.servers.join(",")
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = String> + '_ {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.servers.iter().map(move |server| format!("{scheme}://{server}"))
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// What to ask for as the time to live of a lease, in seconds.
    pub(crate) fn ttl(&self) -> i64 {
        let part = u64::from(self.session_timeout.subsec_nanos() > 0);
        let rounded_up = self.session_timeout.as_secs().saturating_add(part);
        i64::try_from(rounded_up).unwrap_or(MAX_TTL).clamp(1, MAX_TTL)
    }

    /// How long a server may take for one answer: so short that a session survives one that does not answer.
    pub(crate) fn patience(&self) -> Duration {
        self.connect_timeout.min((self.session_timeout / 3).max(LEAST_PATIENCE))
    }

    /// What the client library needs to know; its own defaults would wait for ever.
    pub(crate) fn connect_options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.patience())
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.load()?);
        }
        Ok(options)
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, root, session_timeout, connect_timeout, user, tls } = self;
        f.debug_struct("EtcdOptions")
            .field("servers", servers)
            .field("root", root)
            .field("session_timeout", session_timeout)
            .field("connect_timeout", connect_timeout)
            .field("user", &user.as_ref().map(|(name, _)| name))
            .field("tls", tls)
            .finish()
    }
}

fn user(credentials: Option<(&str, Option<&str>)>) -> Result<Option<(String, String)>> {
    // The values stay out of the messages: they are secret.
    match credentials {
        None => Ok(None),
        Some((name, Some(password))) if !name.is_empty() => Ok(Some((name.to_owned(), password.to_owned()))),
        Some(_) => Err(invalid("the URL has a user without a password, or a password without a user")),
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<EtcdOptions> {
        EtcdOptions::from_url(&url.parse()?)
    }

    #[test]
    fn defaults() {
        for url in ["etcd://h1,h2:99", "etcd://h1,h2:99/"] {
            let options = parse(url).unwrap();
            assert_eq!(options, EtcdOptions::new(["h1:2379", "h2:99"]));
            assert_eq!((options.root(), options.servers().as_str()), ("/fairlock", "h1:2379,h2:99"));
            assert_eq!((options.ttl(), options.connect_timeout.as_secs()), (10, 5));
            assert_eq!(options.endpoints().next().as_deref(), Some("http://h1:2379"));
        }
    }

    #[test]
    fn everything_given() {
        let options = parse(
            "etcds://me:p%40ss@[::1]/app/x/?session_timeout=2500ms&connect_timeout=2s&ca=/c/ca.pem&cert=/c/me.pem&\
             key=/c/me.key&domain=etcd.example",
        )
        .unwrap();
        let tls = EtcdTls::new()
            .with_authority("/c/ca.pem")
            .with_certificate("/c/me.pem", "/c/me.key")
            .with_domain("etcd.example");
        let expected = EtcdOptions::new(["[::1]:2379"])
            .with_root("/app/x")
            .unwrap()
            .with_session_timeout(Duration::from_millis(2500))
            .with_connect_timeout(Duration::from_secs(2))
            .with_user("me", "p@ss")
            .with_tls(tls);
        assert_eq!(options, expected);
        assert_eq!(options.endpoints().next().as_deref(), Some("https://[::1]:2379"));
        assert_eq!(options.ttl(), 3);
    }

    #[test]
    fn any_duration_is_a_time_to_live() {
        for (timeout, ttl) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::from_millis(1001), 2),
            (Duration::MAX, MAX_TTL),
        ] {
            assert_eq!(EtcdOptions::new(["h:1"]).with_session_timeout(timeout).ttl(), ttl);
        }
    }

    #[test]
    fn an_answer_may_take_a_third_of_the_session() {
        let patience = |session, connect| {
            let options = EtcdOptions::new(["h:1"]).with_session_timeout(session);
            options.with_connect_timeout(connect).patience()
        };
        let seconds = Duration::from_secs;
        assert_eq!(patience(seconds(9), seconds(5)), seconds(3));
        assert_eq!(patience(seconds(60), seconds(5)), seconds(5));
        assert_eq!(patience(Duration::from_millis(1), seconds(5)), LEAST_PATIENCE);
    }

    #[test]
    fn mistakes_are_refused_without_telling_secrets() {
        for url in [
            "etcd://",
            "etcd://h/a//b",
            "etcd://h//",
            "etcd://h/a%00",
            "etcd://me@h",
            "etcd://:secret@h",
            "etcd://h?session_timeout=0s",
            "etcd://me:secret@h?session_timout=1s",
            "etcd://h?ca=/c/ca.pem",
            "etcds://h?cert=/c/me.pem",
            "etcds://h?key=/c/me.key",
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let tls = EtcdTls::new().with_authority("/no/such/file");
        let error = EtcdOptions::new(["h:1"]).with_tls(tls).connect_options().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse("etcd://me:secret@h").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }
}
