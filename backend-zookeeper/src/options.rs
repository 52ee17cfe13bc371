//! Which servers, where on them, and as whom.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use lockcore::{
    Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Error, ErrorKind, LockUrl, Result, Secret,
    TlsFiles, UrlOption,
};
use zookeeper_client::{Acl, Acls, AuthId, Client, Connector, Permission};

use crate::sasl;
use crate::tls;

/// The schemes of URLs that mean ZooKeeper, without and with TLS.
pub const SCHEMES: [&str; 2] = [SCHEME, SCHEME_TLS];

/// The scheme without TLS.
pub const SCHEME: &str = "zookeeper";

const SCHEME_TLS: &str = "zookeepers";

/// The options of URLs.
pub const OPTIONS: [UrlOption; 12] = [
    UrlOption::SESSION_TIMEOUT,
    UrlOption::CONNECT_TIMEOUT,
    UrlOption::PASSWORD,
    UrlOption::PASSWORD_FILE,
    UrlOption::PASSWORD_ENV,
    UrlOption::new(
        "auth",
        "",
        "`digest:user:password`, or the credentials of another scheme; `user:password@` before the hosts is short for the first",
    ),
    UrlOption::new(
        "sasl",
        "",
        "`digest-md5` gives user and password by SASL instead (cargo feature `zookeeper-sasl`)",
    ),
    UrlOption::new(
        "acl",
        "",
        "who may touch a lock and its entries: `creator`, the default with credentials, or `open`; the directories above are open",
    ),
    UrlOption::TLS,
    UrlOption::CA,
    UrlOption::CERT,
    UrlOption::KEY,
];

const DEFAULT_PORT: u16 = 2181;

/// Which servers, where on them, and as whom. `Debug` does not show credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ZooKeeperOptions {
    servers: Vec<String>,
    root: String,
    session_timeout: Duration,
    connect_timeout: Duration,
    auth: Option<Auth>,
    open: bool,
    tls: Option<TlsFiles>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Auth {
    /// User and password of the scheme `digest`.
    Digest(Credentials),
    Sasl(Credentials),
    Scheme(String, Secret),
}

impl ZooKeeperOptions {
    /// The servers, each as `host:port`; everything else by default: no root directory, a session timeout of
    /// 10 s, a connect timeout of 5 s, no authentication.
    pub fn new<S: AsRef<str>>(servers: impl IntoIterator<Item = S>) -> Self {
        Self {
            servers: servers.into_iter().map(|server| server.as_ref().to_owned()).collect(),
            root: String::new(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            auth: None,
            open: false,
            tls: None,
        }
    }

    /// The options of a URL such as `zookeeper://user@h1:2181,h2:2181/root?session_timeout=10s&password_file=/run/secrets/zk`, or with
    /// TLS `zookeepers://…`, with [`OPTIONS`](crate::OPTIONS).
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options(&OPTIONS)?;
        let mut parsed = Self::new(url.endpoints(DEFAULT_PORT)?)
            .with_root(url.path())?
            .with_session_timeout(options.duration("session_timeout")?)
            .with_connect_timeout(options.duration("connect_timeout")?);
        let sasl = options
            .text("sasl")
            .map(|_| options.choice("sasl", &[("digest-md5", ())]))
            .transpose()?
            .is_some();
        parsed.auth = auth(options.text("auth"), options.credentials()?, sasl)?;
        let has_auth = parsed.auth.is_some();
        parsed.open = match options.text("acl") {
            None => !has_auth,
            Some(_) => options.choice("acl", &[("open", true), ("creator", false)])?,
        };
        if !parsed.open && !has_auth {
            return Err(invalid(
                "option acl=creator needs credentials: user:password@ before the hosts, or auth=",
            ));
        }
        if let Some(files) = options.tls(url.scheme() == SCHEME_TLS)? {
            parsed = parsed.with_tls(files)?;
        }
        Ok(parsed)
    }

    /// The node under which everything lies, such as `/app`; made when missing.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if it is not an absolute path.
    pub fn with_root(mut self, root: &str) -> Result<Self> {
        let root = root.strip_suffix('/').unwrap_or(root);
        let valid = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        let mut parts = root.split('/');
        if parts.next() != Some("") || !parts.all(valid) {
            return Err(invalid(format!("root {root:?} is not a path such as /app/locks")));
        }
        root.clone_into(&mut self.root);
        Ok(self)
    }

    /// After how long without a word from us the servers end our session. They may grant more or less. Ask for three of
    /// their ticks or more ([why](crate#limits)).
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

    /// Authenticates, for the scheme `digest` with `user:password`. The directories of locks that we make, and the
    /// entries in them, are then accessible to the same user only.
    #[must_use]
    pub fn with_auth(mut self, scheme: impl Into<String>, credentials: impl Into<Secret>) -> Self {
        self.auth = Some(Auth::Scheme(scheme.into(), credentials.into()));
        self
    }

    /// Authenticates by the scheme `digest`, with a password that may be somewhere else.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.auth = Some(Auth::Digest(Credentials::new(name, Some(password.into()))));
        self
    }

    /// Authenticates by SASL with DIGEST-MD5.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) without the cargo feature `sasl`.
    pub fn with_sasl(mut self, name: impl Into<String>, password: impl Into<Secret>) -> Result<Self> {
        sasl::check()?;
        self.auth = Some(Auth::Sasl(Credentials::new(name, Some(password.into()))));
        Ok(self)
    }

    /// Talks to the servers through TLS.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) without the cargo feature `tls`, and for a server that can have no certificate.
    pub fn with_tls(mut self, files: TlsFiles) -> Result<Self> {
        tls::check(&self.servers)?;
        self.tls = Some(files);
        Ok(self)
    }

    /// Makes nodes accessible to everybody, even though we authenticate.
    #[must_use]
    pub fn with_open_acl(mut self) -> Self {
        self.open = true;
        self
    }

    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// What the protocol can say: it counts milliseconds in an i32, and to the client library zero is "not given".
    pub(crate) fn session_timeout(&self) -> Duration {
        self.session_timeout.clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX as u64))
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long one server may be silent, for a session that lasts this long: so short that others can be tried in the
    /// time that is left, when a session is opened and while it lasts.
    pub(crate) fn connection_timeout(&self, session_timeout: Duration) -> Duration {
        let count = u32::try_from(self.servers.len()).unwrap_or(u32::MAX).max(1);
        let longest = (session_timeout * 2 / 5).min(session_timeout * 3 / 5 / count);
        (self.connect_timeout / count).min(longest).max(session_timeout / 10)
    }

    /// Who may touch the directory of a lock, and the entries in it.
    pub(crate) fn acls(&self) -> Acls<'static> {
        if self.is_open() { Acls::anyone_all() } else { Acls::creator_all() }
    }

    /// Who may touch what lies above the directories of locks: others may use locks of their own there.
    pub(crate) fn ancestor_acls(&self) -> Acls<'static> {
        if self.is_open() { Acls::anyone_all() } else { Acls::new(&*SHARED) }
    }

    fn is_open(&self) -> bool {
        self.open || self.auth.is_none()
    }

    pub(crate) fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// How to connect now: with the secrets and certificates that there are.
    pub(crate) fn connector(&self, session_timeout: Duration) -> Result<Connector> {
        let connector = Client::connector()
            .with_session_timeout(session_timeout)
            .with_connection_timeout(self.connection_timeout(session_timeout));
        let connector = match &self.auth {
            None => connector,
            Some(Auth::Digest(credentials)) => {
                let password = credentials.password()?.unwrap_or_default();
                connector.with_auth("digest", format!("{}:{password}", credentials.user()).as_bytes())
            }
            Some(Auth::Sasl(credentials)) => sasl::authenticated(connector, credentials)?,
            Some(Auth::Scheme(scheme, secret)) => connector.with_auth(scheme, secret.read()?.as_bytes()),
        };
        match &self.tls {
            None => Ok(connector),
            Some(files) => tls::encrypted(connector, files),
        }
    }
}

/// Anybody may list, add and remove (what is empty), the creator anything.
static SHARED: LazyLock<[Acl; 2]> = LazyLock::new(|| {
    let shared = Permission::READ | Permission::CREATE | Permission::DELETE;
    [Acl::new(shared, AuthId::anyone()), Acl::new(Permission::ALL, AuthId::authed())]
});

impl fmt::Debug for ZooKeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperOptions")
            .field("servers", &self.servers)
            .field("root", &self.root)
            .field("session_timeout", &self.session_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("auth", &self.auth)
            .field("open", &self.open)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

fn auth(option: Option<&str>, credentials: Option<Credentials>, sasl: bool) -> Result<Option<Auth>> {
    // The values stay out of the messages: they are secret.
    match (option, credentials.map(Credentials::complete).transpose()?) {
        (None, None) if sasl => Err(invalid("option sasl needs a user and a password")),
        (None, None) => Ok(None),
        (None, Some(credentials)) if sasl => sasl::check().map(|()| Some(Auth::Sasl(credentials))),
        (None, Some(credentials)) => Ok(Some(Auth::Digest(credentials))),
        (Some(_), Some(_)) => Err(invalid("there are both a user and the option auth")),
        (Some(_), None) if sasl => Err(invalid("there are both the options auth and sasl")),
        (Some(option), None) => match option.split_once(':') {
            Some((scheme, rest)) if !scheme.is_empty() && rest.contains(':') => {
                Ok(Some(Auth::Scheme(scheme.to_owned(), rest.into())))
            }
            _ => Err(invalid("option auth is not scheme:user:password, such as digest:user:password")),
        },
    }
}

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ZooKeeperOptions> {
        ZooKeeperOptions::from_url(&url.parse()?)
    }

    #[test]
    fn defaults() {
        let options = parse("zookeeper://h1,h2:99").unwrap();
        assert_eq!(options, ZooKeeperOptions::new(["h1:2181", "h2:99"]).with_open_acl());
        assert_eq!(options.servers(), ["h1:2181", "h2:99"]);
        assert_eq!(options.root(), "");
        assert_eq!((options.session_timeout.as_secs(), options.connect_timeout.as_secs()), (10, 5));
        assert_eq!(options.acls(), Acls::anyone_all());
    }

    #[test]
    fn everything_given() {
        let options =
            parse("zookeeper://h/app/x/?session_timeout=3s&connect_timeout=2s&auth=digest:me:a:b&acl=open")
                .unwrap();
        let expected = ZooKeeperOptions::new(["h:2181"])
            .with_root("/app/x")
            .unwrap()
            .with_session_timeout(Duration::from_secs(3))
            .with_connect_timeout(Duration::from_secs(2))
            .with_auth("digest", "me:a:b")
            .with_open_acl();
        assert_eq!(options, expected);
    }

    #[test]
    fn whoever_authenticates_keeps_others_out() {
        let plain = || ZooKeeperOptions::new(["h:2181"]);
        for (url, expected) in [
            ("zookeeper://h?auth=digest:me:p%40ss", plain().with_auth("digest", "me:p@ss")),
            ("zookeeper://me:p%40ss@h", plain().with_user("me", "p@ss")),
            ("zookeeper://me@h?password_file=/zk", plain().with_user("me", Secret::in_file("/zk"))),
            ("zookeeper://me@h?password_env=ZK", plain().with_user("me", Secret::in_variable("ZK"))),
        ] {
            let options = parse(url).unwrap();
            assert_eq!(options, expected);
            assert_eq!(options.acls(), Acls::creator_all());
        }
    }

    #[test]
    fn mistakes_are_refused_without_telling_secrets() {
        for url in [
            "zookeeper://",
            "zookeeper://h/a//b",
            "zookeeper://h/a/..",
            "zookeeper://h/a/./b",
            "zookeeper://h/a%00",
            "zookeeper://h?acl=creator",
            "zookeeper://h?acl=closed",
            "zookeeper://h?auth=secret",
            "zookeeper://h?auth=digest:secret",
            "zookeeper://me:secret@h?auth=digest:me:secret",
            "zookeeper://me@h",
            "zookeeper://:secret@h",
            "zookeeper://me:secret@h?password_env=ZK",
            "zookeeper://h?sasl=digest-md5",
            "zookeeper://me:secret@h?sasl=kerberos",
            "zookeeper://h?auth=digest:me:secret&sasl=digest-md5",
            "zookeeper://h?ca=/c/ca.pem",
            "zookeepers://h?cert=/c/me.pem",
            "zookeeper://h?session_timeout=0s",
            "zookeeper://h?session_timout=1s&auth=digest:me:secret",
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse("zookeeper://me:secret@h").unwrap();
        assert!(
            !format!("{options:?} {:?}", options.connector(options.session_timeout()).unwrap())
                .contains("secret")
        );
    }

    #[test]
    fn every_option_that_is_declared_is_read() {
        let plain = parse("zookeeper://h").unwrap();
        for UrlOption { name, .. } in OPTIONS {
            let given = parse(&format!("zookeeper://h?{name}=nonsense"));
            assert!(given.map_or(true, |given| given != plain), "{name}");
        }
    }
}
