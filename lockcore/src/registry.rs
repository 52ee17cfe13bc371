//! From URL schemes to lock services.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::capabilities::Capabilities;
use crate::config::Config;
use crate::error::{Result, invalid_config};
use crate::service::LockService;
use crate::url::LockUrl;
use crate::url_options::UrlOption;

/// Makes the lock service for a URL; one for each backend.
pub trait ServiceFactory: Debug + Send + Sync + 'static {
    /// The service of what the URL names, which connects by itself and is not connected yet: such as
    /// [`QueueLocks::new`](crate::queue::QueueLocks::new). Every option that the backend does not know must be an error, as
    /// [`LockUrl::options`] makes it.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a URL or an option that the backend does not understand.
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>>;

    /// The options that it declares, for those who tell users of them.
    fn options(&self) -> &'static [UrlOption] {
        &[]
    }
}

/// The URL schemes that a program knows. Anybody may add some.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    factories: BTreeMap<&'static str, Arc<dyn ServiceFactory>>,
    /// Schemes that another build knows, and the cargo features that it takes.
    off: BTreeMap<&'static str, &'static str>,
}

impl Registry {
    /// One that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same registry with one scheme more (or another backend for a scheme that it knew).
    #[must_use]
    pub fn with(mut self, scheme: &'static str, factory: impl ServiceFactory) -> Self {
        self.factories.insert(scheme, Arc::new(factory));
        self
    }

    /// The same registry, knowing of one scheme that it needs this cargo feature, which is off: whoever uses the scheme is told so.
    #[must_use]
    pub fn without(mut self, scheme: &'static str, feature: &'static str) -> Self {
        self.off.insert(scheme, feature);
        self
    }

    /// The schemes that it knows, in alphabetical order.
    pub fn schemes(&self) -> impl Iterator<Item = &'static str> {
        self.factories.keys().copied()
    }

    /// The options of a scheme, which are none for an unknown one; every scheme has [`require`](UrlOption::REQUIRE) in addition.
    pub fn options(&self, scheme: &str) -> &'static [UrlOption] {
        self.factories.get(scheme).map_or(&[], |factory| factory.options())
    }

    /// Connects to what the configuration names.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown scheme or option, or if the backend
    /// cannot give what `require=` demands; otherwise what the backend reports, such as
    /// [`Unreachable`](crate::ErrorKind::Unreachable).
    ///
    /// # Cancel safety
    ///
    /// When dropped, a session that was being opened ends by itself.
    pub async fn connect(&self, config: &Config) -> Result<Arc<dyn LockService>> {
        self.connect_url(config.url()?).await
    }

    /// The service that the configuration names, which connects in the background: no server need be there yet. What is asked of it
    /// waits for a connection as it does during an outage; [`ready`](LockService::ready) and
    /// [`events`](LockService::events) tell when there is one.
    ///
    /// Call it within a runtime: outside of one, only the first acquisition connects.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), as for [`connect`](Self::connect).
    pub fn connect_lazy(&self, config: &Config) -> Result<Arc<dyn LockService>> {
        self.service(config.url()?)
    }

    /// Connects to what the URL names.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// That of [`connect`](Self::connect).
    pub async fn connect_url(&self, url: LockUrl) -> Result<Arc<dyn LockService>> {
        let context = format!("connect to {url}");
        let service = self.service(url)?;
        service.ready().await.map_err(|error| error.with_context(context))?;
        Ok(service)
    }

    fn service(&self, url: LockUrl) -> Result<Arc<dyn LockService>> {
        let (url, requirements) = url.take_option("require");
        let requirements = parse_requirements(requirements.as_deref().unwrap_or_default())?;
        let service = self.factory(&url)?.service(&url);
        let service = service.map_err(|error| error.with_context(format_args!("connect to {url}")))?;
        let capabilities = service.capabilities();
        match requirements.iter().find(|requirement| capabilities.meets(requirement) == Some(false)) {
            None => Ok(service),
            Some(unmet) => Err(invalid_config(format!(
                "{}:// does not offer {unmet:?}, only: {capabilities}",
                url.scheme()
            ))),
        }
    }

    fn factory(&self, url: &LockUrl) -> Result<&dyn ServiceFactory> {
        let scheme = url.scheme();
        self.factories.get(scheme).map(|factory| &**factory).ok_or_else(|| match self.off.get(scheme) {
            Some(feature) => {
                invalid_config(format!("{scheme}:// needs the cargo feature {feature:?}, which is off"))
            }
            None => {
                let known = self.schemes().collect::<Vec<_>>().join(", ");
                invalid_config(format!("unknown scheme {scheme:?}; this program knows: {known}"))
            }
        })
    }
}

fn parse_requirements(text: &str) -> Result<Vec<&str>> {
    let requirements: Vec<&str> = text.split(',').filter(|name| !name.is_empty()).collect();
    match requirements.iter().find(|name| !Capabilities::REQUIREMENTS.contains(name)) {
        None => Ok(requirements),
        Some(unknown) => {
            let valid = Capabilities::REQUIREMENTS.join(", ");
            Err(invalid_config(format!("option require={unknown:?} is not one of {valid}")))
        }
    }
}
