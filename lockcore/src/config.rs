//! Where locks live, from a configuration file, a URL or the environment.

use std::collections::BTreeMap;
use std::env::VarError;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, invalid_config};
use crate::url::LockUrl;

/// Where locks live. With serde it is a map:
///
/// ```
/// let config: lockcore::Config = serde_json::from_str(
///     r#"{ "url": "zookeeper://zk1:2181,zk2:2181/app", "options": { "session_timeout": "10s" } }"#,
/// )?;
/// assert_eq!(config.url()?.hosts(), ["zk1:2181", "zk2:2181"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    url: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl Config {
    /// The environment variable that [`from_env`](Self::from_env) reads.
    pub const ENV: &str = "FAIRLOCK_URL";

    /// The place that this URL names.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: BTreeMap::new() }
    }

    /// The place that the environment variable `FAIRLOCK_URL` names.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if it is not set, empty or not text.
    pub fn from_env() -> Result<Self> {
        match std::env::var(Self::ENV) {
            Ok(url) if !url.is_empty() => Ok(Self::new(url)),
            Ok(_) | Err(VarError::NotPresent) => {
                Err(invalid_config(format!("the environment variable {} is not set", Self::ENV)))
            }
            // The error would show the value.
            Err(VarError::NotUnicode(_)) => {
                Err(invalid_config(format!("the environment variable {} is not UTF-8", Self::ENV)))
            }
        }
    }

    /// The same place with one option more; in the URL it would stand behind the `?`.
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// The URL with all options.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if it cannot be parsed, or an option is given twice.
    pub fn url(&self) -> Result<LockUrl> {
        self.url.parse::<LockUrl>()?.with_options(self.options.clone())
    }
}

impl From<&str> for Config {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let config = Self::new(url);
        config.url().map(|_| config)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.url() {
            Ok(url) => f.debug_struct("Config").field("url", &url).finish_non_exhaustive(),
            Err(_) => f.debug_struct("Config").finish_non_exhaustive(),
        }
    }
}
