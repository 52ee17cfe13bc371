//! Which servers, where on them, as whom, and how they are recognised.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use lockcore::{
    Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Error, ErrorKind, LockUrl, Result, Secret,
    TlsFiles, UrlOption, tls,
};

/// The schemes of URLs that mean etcd, without and with TLS.
pub const SCHEMES: [&str; 2] = [SCHEME, SCHEME_TLS];

/// The scheme without TLS.
pub const SCHEME: &str = "etcd";

const SCHEME_TLS: &str = "etcds";

/// The options of URLs.
pub const OPTIONS: [UrlOption; 10] = [
    UrlOption::SESSION_TIMEOUT,
    UrlOption::CONNECT_TIMEOUT,
    UrlOption::PASSWORD,
    UrlOption::PASSWORD_FILE,
    UrlOption::PASSWORD_ENV,
    UrlOption::TLS,
    UrlOption::CA,
    UrlOption::CERT,
    UrlOption::KEY,
    UrlOption::new(
        "domain",
        "",
        "the name in the servers' certificates, if it is not the one by which we call them",
    ),
];

const DEFAULT_PORT: u16 = 2379;
const DEFAULT_ROOT: &str = "/fairlock";

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
    user: Option<Credentials>,
    tls: Option<TlsFiles>,
    domain: Option<String>,
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
            domain: None,
        }
    }

    /// The options of a URL such as
    /// `etcd://user:password@h1:2379,h2:2379/root?session_timeout=10s&connect_timeout=5s`, or with TLS `etcds://…`, with
    /// [`OPTIONS`](crate::OPTIONS).
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options(&OPTIONS)?;
        let mut parsed = Self::new(url.endpoints(DEFAULT_PORT)?)
            .with_session_timeout(options.duration("session_timeout")?)
            .with_connect_timeout(options.duration("connect_timeout")?);
        if !matches!(url.path(), "" | "/") {
            parsed = parsed.with_root(url.path())?;
        }
        parsed.user = options.credentials()?.map(Credentials::complete).transpose()?;
        parsed.tls = options.tls(url.scheme() == SCHEME_TLS)?;
        parsed.domain = options.text("domain").map(str::to_owned);
        if parsed.tls.is_none() && parsed.domain.is_some() {
            return Err(invalid("option domain needs TLS: etcds:// or tls=true"));
        }
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
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.user = Some(Credentials::new(name, Some(password.into())));
        self
    }

    /// Talks to the servers through TLS.
    #[must_use]
    pub fn with_tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// The certificates of the servers are for this name.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
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
        if let Some(user) = &self.user {
            options = options.with_user(user.user(), user.password()?.unwrap_or_default());
        }
        if let Some(files) = &self.tls {
            options = options.with_tls(self.tls_options(files)?);
        }
        Ok(options)
    }

    /// Why TLS with this server is refused, if it is. The client library does not always tell.
    pub(crate) async fn tls_refusal(&self, server: &str) -> Option<Error> {
        tls::why_refused(server, self.domain.as_deref(), self.tls.as_ref()?).await
    }

    fn tls_options(&self, files: &TlsFiles) -> Result<TlsOptions> {
        let mut tls = match files.authority()? {
            Some(pem) => TlsOptions::new().ca_certificate(Certificate::from_pem(pem)),
            None => TlsOptions::new().with_enabled_roots(),
        };
        if let Some((certificate, key)) = files.identity()? {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Ok(match &self.domain {
            Some(domain) => tls.domain_name(domain),
            None => tls,
        })
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, root, session_timeout, connect_timeout, user, tls, domain } = self;
        f.debug_struct("EtcdOptions")
            .field("servers", servers)
            .field("root", root)
            .field("session_timeout", session_timeout)
            .field("connect_timeout", connect_timeout)
            .field("user", user)
            .field("tls", tls)
            .field("domain", domain)
            .finish()
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
        let tls = TlsFiles::new().with_authority("/c/ca.pem").with_certificate("/c/me.pem", "/c/me.key");
        let expected = EtcdOptions::new(["[::1]:2379"])
            .with_root("/app/x")
            .unwrap()
            .with_session_timeout(Duration::from_millis(2500))
            .with_connect_timeout(Duration::from_secs(2))
            .with_user("me", "p@ss")
            .with_tls(tls)
            .with_domain("etcd.example");
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
            "etcd://me:secret@h?password_file=/etcd",
            "etcd://h?password=secret",
            "etcd://h?ca=/c/ca.pem",
            "etcd://h?domain=etcd.example",
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
        let tls = TlsFiles::new().with_authority("/no/such/file");
        let error = EtcdOptions::new(["h:1"]).with_tls(tls).connect_options().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse("etcd://me:secret@h").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn every_option_that_is_declared_is_read() {
        let plain = parse("etcd://h").unwrap();
        for UrlOption { name, .. } in OPTIONS {
            let given = parse(&format!("etcd://h?{name}=nonsense"));
            assert!(given.map_or(true, |given| given != plain), "{name}");
        }
    }
}
