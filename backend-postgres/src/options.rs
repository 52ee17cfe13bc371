//! Which servers, which database and schema, as whom, and how the servers are recognised.

use std::fmt;
use std::time::Duration;

use lockcore::{
    Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, LockUrl, Result, Secret, UrlOption,
    host_and_port,
};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::error::invalid;
use crate::tls::{PostgresTls, TlsMode};

/// The schemes of URLs that mean PostgreSQL.
pub const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// The options of URLs.
pub const OPTIONS: [UrlOption; 10] = [
    UrlOption::SESSION_TIMEOUT,
    UrlOption::CONNECT_TIMEOUT,
    UrlOption::PASSWORD,
    UrlOption::PASSWORD_FILE,
    UrlOption::PASSWORD_ENV,
    UrlOption::new(
        "schema",
        DEFAULT_SCHEMA,
        "the schema in which the locks live; the first who may makes it, or `fairlock schema postgres \\| psql`",
    ),
    UrlOption::new(
        "sslmode",
        "prefer",
        "`disable`, `prefer`, `require`, `verify-ca` or `verify-full`, as PostgreSQL's own clients have them",
    ),
    UrlOption::new(
        "sslrootcert",
        "",
        "PEM file of the authorities to trust; without it those that this machine trusts",
    ),
    UrlOption::new("sslcert", "", "PEM file of our certificate; it is read again for each session"),
    UrlOption::new("sslkey", "", "PEM file of the key of our certificate; it is read again for each session"),
];

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_SCHEMA: &str = "fairlock";

/// However short the session: a loaded server needs some time to answer.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// The longest name of a schema, in bytes: PostgreSQL cuts off what is longer.
const MAX_SCHEMA: usize = 63;

/// Which servers, which database and schema, as whom, and how the servers are recognised. `Debug` does not show the
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    servers: Vec<String>,
    database: Option<String>,
    schema: String,
    session_timeout: Duration,
    connect_timeout: Duration,
    user: Option<Credentials>,
    tls: PostgresTls,
}

impl PostgresOptions {
    /// The servers, each as `host:port`, of which one is the primary and the others follow it; everything else by default: the
    /// user of this process, the database of that name, the schema `fairlock`, a session timeout of 10 s, a connect timeout of 5
    /// s, TLS if the server has it.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            database: None,
            schema: DEFAULT_SCHEMA.to_owned(),
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            user: None,
            tls: PostgresTls::default(),
        }
    }

    /// The options of a URL such as
    /// `postgres://user:password@h1:5432,h2:5432/database?schema=fairlock&session_timeout=10s&connect_timeout=5s`, with
    /// [`OPTIONS`](crate::OPTIONS).
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](lockcore::ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options(&OPTIONS)?;
        let mut parsed = Self::new(url.endpoints(DEFAULT_PORT)?)
            .with_session_timeout(options.duration("session_timeout")?)
            .with_connect_timeout(options.duration("connect_timeout")?)
            .with_schema(options.text("schema").unwrap_or_default())?;
        if let Some(database) = url.path().strip_prefix('/').filter(|database| !database.is_empty()) {
            parsed = parsed.with_database(database);
        }
        parsed.user = options.credentials()?;
        if parsed.user.as_ref().is_some_and(|user| user.user().is_empty()) {
            return Err(invalid("there is a password without a user"));
        }
        let mode = options.choice("sslmode", &TlsMode::WORDS)?;
        parsed.tls = PostgresTls::new(mode, options.tls_files(["sslrootcert", "sslcert", "sslkey"])?);
        Ok(parsed)
    }

    /// The schema in which the locks live.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](lockcore::ErrorKind::InvalidConfig) if no schema can be called so.
    pub fn with_schema(mut self, schema: impl Into<String>) -> Result<Self> {
        self.schema = schema.into();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = self.schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        // Names that would have to be quoted are nobody's friend, and those that begin with pg_ are PostgreSQL's own.
        if !begins
            || !self.schema.chars().all(valid)
            || self.schema.len() > MAX_SCHEMA
            || self.schema.starts_with("pg_")
        {
            let message = format!(
                "schema {:?} is not a name of at most {MAX_SCHEMA} lower-case letters, digits and _ that begins with a letter, and not with pg_",
                self.schema
            );
            return Err(invalid(message));
        }
        Ok(self)
    }

    /// The database in which the schema is.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// After how long without a word from us our session may be ended.
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

    /// As whom, with a password where one is needed.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: Option<Secret>) -> Self {
        self.user = Some(Credentials::new(name, password));
        self
    }

    /// Whether to talk through TLS, and how the servers are recognised then.
    #[must_use]
    pub fn with_tls(mut self, tls: PostgresTls) -> Self {
        self.tls = tls;
        self
    }

    /// The servers, for messages.
    pub(crate) fn servers(&self) -> String {
        self.servers.join(",")
    }

    /// The database; where none is named, the one that is called like the user.
    pub(crate) fn database(&self) -> &str {
        let user = self.user.as_ref().map(Credentials::user);
        self.database.as_deref().or(user).unwrap_or_default()
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn tls(&self) -> &PostgresTls {
        &self.tls
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long a server may take for one answer: so short that a session survives one that does not answer.
    pub(crate) fn patience(&self) -> Duration {
        self.connect_timeout.min((self.session_timeout / 3).max(LEAST_PATIENCE))
    }

    /// How to connect to each of the servers, with the password that there is now.
    pub(crate) fn configs(&self) -> Result<Vec<(&str, Config)>> {
        let password = self.user.as_ref().map(Credentials::password).transpose()?.flatten();
        let servers = self.servers.iter();
        Ok(servers.map(|server| (server.as_str(), self.config(server, password.as_deref()))).collect())
    }

    fn config(&self, server: &str, password: Option<&str>) -> Config {
        let mut config = Config::new();
        let (host, port) = host_and_port(server);
        config.host(host).port(port.unwrap_or(DEFAULT_PORT));
        if let Some(user) = &self.user {
            config.user(user.user());
        }
        if let Some(password) = password {
            config.password(password);
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        config.ssl_mode(match self.tls.mode() {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        config.application_name("fairlock").tcp_user_timeout(self.session_timeout);
        config
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, database, schema, session_timeout, connect_timeout, user, tls } = self;
        f.debug_struct("PostgresOptions")
            .field("servers", servers)
            .field("database", database)
            .field("schema", schema)
            .field("session_timeout", session_timeout)
            .field("connect_timeout", connect_timeout)
            .field("user", user)
            .field("tls", tls)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use lockcore::{ErrorKind, TlsFiles};

    use super::*;

    fn parse(url: &str) -> Result<PostgresOptions> {
        PostgresOptions::from_url(&url.parse()?)
    }

    #[test]
    fn defaults() {
        for url in ["postgres://h1,h2:99", "postgresql://h1,h2:99/"] {
            let options = parse(url).unwrap();
            assert_eq!(options, PostgresOptions::new(["h1:5432", "h2:99"]));
            assert_eq!((options.schema(), options.servers().as_str()), ("fairlock", "h1:5432,h2:99"));
            assert_eq!((options.session_timeout().as_secs(), options.connect_timeout().as_secs()), (10, 5));
            assert_eq!(options.tls().mode(), TlsMode::Prefer);
        }
    }

    #[test]
    fn everything_given() {
        let options = parse(
            "postgres://me:p%40ss@[::1]/shop?schema=locks&session_timeout=2500ms&connect_timeout=2s&sslmode=verify-full&\
             sslrootcert=/c/ca.pem&sslcert=/c/me.pem&sslkey=/c/me.key",
        )
        .unwrap();
        let files = TlsFiles::new().with_authority("/c/ca.pem").with_certificate("/c/me.pem", "/c/me.key");
        let tls = PostgresTls::new(TlsMode::VerifyFull, files);
        let expected = PostgresOptions::new(["[::1]:5432"])
            .with_database("shop")
            .with_schema("locks")
            .unwrap()
            .with_session_timeout(Duration::from_millis(2500))
            .with_connect_timeout(Duration::from_secs(2))
            .with_user("me", Some("p@ss".into()))
            .with_tls(tls);
        assert_eq!(options, expected);
        let (_, config) = options.configs().unwrap().remove(0);
        assert_eq!(config.get_hosts(), [tokio_postgres::config::Host::Tcp("::1".to_owned())]);
        assert_eq!((config.get_ports(), config.get_ssl_mode()), (&[5432][..], SslMode::Require));
        assert_eq!(config.get_dbname(), Some("shop"));
    }

    #[test]
    fn an_answer_may_take_a_third_of_the_session() {
        let patience = |session, connect| {
            let options = PostgresOptions::new(["h:1"]).with_session_timeout(session);
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
            "postgres://",
            "postgres://:secret@h",
            "postgres://h?password=secret",
            "postgres://me:secret@h?password_env=PGPASSWORD",
            "postgres://h?session_timeout=0s",
            "postgres://me:secret@h?session_timout=1s",
            "postgres://h?sslmode=maybe",
            "postgres://h?sslcert=/c/me.pem",
            "postgres://h?sslkey=/c/me.key",
            "postgres://h?schema=",
            "postgres://h?schema=Locks",
            "postgres://h?schema=a%22b",
            "postgres://h?schema=pg_locks",
            "postgres://h?schema=1a",
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse("postgres://me:secret@h").unwrap();
        assert!(!format!("{options:?} {:?}", options.configs()).contains("secret"));
    }

    #[test]
    fn every_option_that_is_declared_is_read() {
        let plain = parse("postgres://h").unwrap();
        for UrlOption { name, .. } in OPTIONS {
            let given = parse(&format!("postgres://h?{name}=nonsense"));
            assert!(given.map_or(true, |given| given != plain), "{name}");
        }
    }
}
