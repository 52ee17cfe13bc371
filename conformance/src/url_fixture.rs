//! A fixture for any service that a URL can name.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::{Capabilities, Clocks, Error, ErrorKind, LockService, LockUrl, Registry, Result};

use crate::fixture::{Client, Fixture, Network, Operator, Servers};
use crate::process::Holder;
use crate::proxy::Proxy;

/// A running service that a URL names. If the URL has exactly one host with a port, each client reaches it
/// through a proxy, which is how the network is broken; so it does with each of several hosts, if
/// [that helps](Self::with_members_behind_proxies).
#[derive(Debug)]
pub struct UrlFixture {
    registry: Registry,
    url: LockUrl,
    session_timeout: Duration,
    capabilities: Capabilities,
    holder: Holder,
    operator: Option<Box<dyn Operator>>,
    servers: Option<Box<dyn Servers>>,
    members_behind_proxies: bool,
    #[expect(dead_code, reason = "what matters is when it is dropped")]
    server: Box<dyn Debug + Send + Sync>,
}

/// How long trials wait at most where sessions do not expire.
const NO_SESSIONS: Duration = Duration::from_secs(10);

impl UrlFixture {
    /// Connects once, to see whether the service is there and what it can do; blocks meanwhile, so do not call it
    /// on a runtime. The trials of loss wait for as long as the session lasts that is granted.
    ///
    /// # Errors
    ///
    /// Those of [`Registry::connect`].
    pub fn new(registry: Registry, url: &str) -> Result<Self> {
        let parsed: LockUrl = url.parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken("no runtime can be had", error))?;
        let (capabilities, session_timeout) = runtime.block_on(async {
            let service = registry.connect_url(parsed.clone()).await?;
            let offered = (service.capabilities(), service.session_time().unwrap_or(NO_SESSIONS));
            service.close().await.map(|()| offered)
        })?;
        let holder = Holder::new(url);
        Ok(Self {
            registry,
            url: parsed,
            session_timeout,
            capabilities,
            holder,
            operator: None,
            servers: None,
            members_behind_proxies: false,
            server: Box::new(()),
        })
    }

    /// Keeps the server that the URL names until the fixture is dropped.
    #[must_use]
    pub fn with_server(self, server: impl Debug + Send + Sync + 'static) -> Self {
        Self { server: Box::new(server), ..self }
    }

    /// Lets somebody remove entries behind their owners' backs.
    #[must_use]
    pub fn with_operator(self, operator: impl Operator + 'static) -> Self {
        Self { operator: Some(Box::new(operator)), ..self }
    }

    /// Lets trials start servers of their own, in whose URL all but the host is as in this one.
    #[must_use]
    pub fn with_servers(self, servers: impl Servers + 'static) -> Self {
        Self { servers: Some(Box::new(servers)), ..self }
    }

    /// Lets each client reach each of the URL's hosts through a proxy. It breaks nothing where servers name themselves to clients, who
    /// then come directly.
    #[must_use]
    pub fn with_members_behind_proxies(self) -> Self {
        Self { members_behind_proxies: true, ..self }
    }

    /// The hosts that clients reach through proxies.
    fn proxied(&self) -> &[String] {
        let hosts = self.url.hosts();
        let named = hosts.iter().all(|host| host.contains(':'));
        if named && (hosts.len() == 1 || self.members_behind_proxies) { hosts } else { &[] }
    }
}

fn broken(what: &'static str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Backend, what).with_source(error)
}

#[async_trait]
impl Fixture for UrlFixture {
    async fn client(&self) -> Result<Client> {
        let mut proxies = Vec::new();
        for host in self.proxied() {
            let proxy = Proxy::start(host).await;
            proxies.push(proxy.map_err(|error| broken("no proxy can be started", error))?);
        }
        if proxies.is_empty() {
            let locks = self.registry.connect_url(self.url.clone()).await?;
            return Ok(Client { locks, network: None });
        }
        let hosts = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        let locks = self.registry.connect_url(self.url.clone().with_hosts(hosts)).await?;
        Ok(Client { locks, network: Some(Box::new(Proxies(proxies))) })
    }

    fn session_timeout(&self) -> Duration {
        self.session_timeout
    }

    fn sessions_expire(&self) -> bool {
        self.capabilities.clocks != Clocks::None
    }

    fn has_network(&self) -> bool {
        !self.proxied().is_empty()
    }

    fn operator(&self) -> Option<&dyn Operator> {
        self.operator.as_deref()
    }

    fn servers(&self) -> Option<&dyn Servers> {
        self.servers.as_deref()
    }

    async fn client_at(&self, address: &str) -> Result<Arc<dyn LockService>> {
        self.registry.connect_url(self.url.clone().with_hosts(vec![address.to_owned()])).await
    }

    fn holder(&self) -> Option<&Holder> {
        Some(&self.holder).filter(|_| self.capabilities.interprocess)
    }
}

/// What is between one client and all servers.
#[derive(Debug)]
struct Proxies(Vec<Proxy>);

impl Network for Proxies {
    fn cut(&self) {
        self.0.iter().for_each(Proxy::cut);
    }

    fn mute(&self) {
        self.0.iter().for_each(Proxy::mute);
    }

    fn delay(&self) {
        self.0.iter().for_each(Proxy::delay);
    }

    fn hold(&self) {
        self.0.iter().for_each(Proxy::hold);
    }

    fn held(&self) -> usize {
        self.0.iter().map(Proxy::held).sum()
    }

    fn abandon(&self) {
        self.0.iter().for_each(Proxy::abandon);
    }

    fn deliver(&self) {
        self.0.iter().for_each(Proxy::deliver);
    }

    fn heal(&self) {
        self.0.iter().for_each(Proxy::heal);
    }
}
