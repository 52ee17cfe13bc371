//! Where locks live, from a configuration file, a URL or the environment.

use std::collections::BTreeMap;
use std::env::VarError;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use crate::error::{Error, Result, invalid_config};
use crate::url::LockUrl;

/// Where locks live. With serde it is a map: the URL, and beside it any of the options that could stand behind the URL's `?`, which
/// may be text, numbers, truth values or lists of them. A number stands for seconds where a duration is meant.
///
/// ```
/// let config: lockcore::Config = serde_json::from_str(
///     r#"{ "url": "zookeeper://zk1:2181,zk2:2181/app", "session_timeout": 10, "require": ["fair", "failover"] }"#,
/// )?;
/// assert_eq!(config.url()?.hosts(), ["zk1:2181", "zk2:2181"]);
/// assert_eq!(config.url()?.option("require"), Some("fair,failover"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Config {
    url: String,
    #[serde(flatten)]
    options: BTreeMap<String, OptionValue>,
}

impl Config {
    /// The environment variable that [`from_env`](Self::from_env) reads.
    pub const ENV: &str = "FAIRLOCK_URL";

    /// What the names of environment variables begin with that [`from_env`](Self::from_env) takes for options.
    pub const ENV_OPTION: &str = "FAIRLOCK_OPTION_";

    /// The place that this URL names.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: BTreeMap::new() }
    }

    /// The place that the environment variable `FAIRLOCK_URL` names, with the options of the environment: `FAIRLOCK_OPTION_TLS=true` is
    /// the option `tls=true`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if the URL is not set, or empty, or something of it is not text.
    pub fn from_env() -> Result<Self> {
        match std::env::var(Self::ENV) {
            Ok(url) if !url.is_empty() => Self::new(url).with_env_options(),
            Ok(_) | Err(VarError::NotPresent) => {
                Err(invalid_config(format!("the environment variable {} is not set", Self::ENV)))
            }
            // The error would show the value.
            Err(VarError::NotUnicode(_)) => Err(not_text(Self::ENV)),
        }
    }

    /// The same place with the options of the environment, as [`from_env`](Self::from_env) takes them.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if one of them is not text.
    pub fn with_env_options(mut self) -> Result<Self> {
        for (variable, value) in std::env::vars_os() {
            let variable = variable.to_string_lossy();
            let Some(name) = variable.strip_prefix(Self::ENV_OPTION) else { continue };
            let value = value.into_string().map_err(|_| not_text(&variable))?;
            self = self.with_option(name.to_ascii_lowercase(), value);
        }
        Ok(self)
    }

    /// The same place with one option more; in the URL it would stand behind the `?`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let config = lockcore::Config::new("redis://redis1")
    ///     .with_option("tls", true)
    ///     .with_option("connect_timeout", Duration::from_secs(2));
    /// assert_eq!(config.url()?.option("connect_timeout"), Some("2s"));
    /// # Ok::<_, lockcore::Error>(())
    /// ```
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// The URL with all options.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if it cannot be parsed, or an option is given twice.
    pub fn url(&self) -> Result<LockUrl> {
        let options = self.options.iter().map(|(name, value)| (name.clone(), value.0.clone()));
        self.url.parse::<LockUrl>()?.with_options(options)
    }
}

fn not_text(variable: &str) -> Error {
    invalid_config(format!("the environment variable {variable} is not UTF-8"))
}

impl From<&str> for Config {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Config {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<&String> for Config {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

/// Such a URL names one host at most.
impl From<url::Url> for Config {
    fn from(url: url::Url) -> Self {
        Self::new(url)
    }
}

impl From<&url::Url> for Config {
    fn from(url: &url::Url) -> Self {
        Self::new(url.as_str())
    }
}

impl From<&Config> for Config {
    fn from(config: &Config) -> Self {
        config.clone()
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

/// The value of an option: text, a number, a truth value, a duration, or in configuration files a list of such values. There is no
/// `Debug` that shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionValue(String);

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptionValue").finish_non_exhaustive()
    }
}

macro_rules! option_value {
    ($($scalar:ty),+) => {$(
        impl From<$scalar> for OptionValue {
            fn from(value: $scalar) -> Self {
                Self(value.to_string())
            }
        }
    )+};
}

option_value!(&str, String, bool, i32, u32, i64, u64, f64);

impl From<Duration> for OptionValue {
    fn from(value: Duration) -> Self {
        Self(humantime::format_duration(value).to_string())
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = OptionValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an option: text, a number, true or false, or a list of them")
    }

    fn visit_bool<E>(self, value: bool) -> Result<OptionValue, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<OptionValue, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<OptionValue, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<OptionValue, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<OptionValue, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OptionValue, A::Error> {
        let mut values = Vec::new();
        while let Some(OptionValue(value)) = list.next_element()? {
            if value.contains(',') {
                return Err(A::Error::custom("a value in a list must not contain a comma"));
            }
            values.push(value);
        }
        Ok(OptionValue(values.join(",")))
    }
}
