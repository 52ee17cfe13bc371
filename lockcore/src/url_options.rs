//! The options of URLs: what drivers read, and what the documentation tells of them.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Result, invalid_config};
use crate::secret::{Credentials, Secret};
use crate::tls_files::TlsFiles;
use crate::url::LockUrl;

/// The session timeout of options that say nothing, as [`UrlOption::SESSION_TIMEOUT`] has it for URLs.
pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The connect timeout of options that say nothing, as [`UrlOption::CONNECT_TIMEOUT`] has it for URLs.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An option of a URL. A driver declares those that it reads, and gets its defaults from there; the documentation is checked
/// against the same declarations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlOption {
    /// What stands before the `=`.
    pub name: &'static str,
    /// What it is unless it is given; empty for nothing.
    pub default: &'static str,
    /// What it means, in Markdown.
    pub meaning: &'static str,
}

impl UrlOption {
    /// Every backend has it, without declaring it.
    pub const REQUIRE: Self = Self::new(
        "require",
        "",
        "demands at connect: `fair`, `strict-fencing`, `loss-detection`, `failover`, `no-time-of-day`, `interprocess` (comma-separated)",
    );
    /// How long the server keeps a session.
    pub const SESSION_TIMEOUT: Self = Self::new(
        "session_timeout",
        "10s",
        "how long the server keeps a session that it does not hear of; the server may grant another",
    );
    /// How long connecting may take.
    pub const CONNECT_TIMEOUT: Self =
        Self::new("connect_timeout", "5s", "how long connecting, and a try, may take");
    /// See [`UrlOptions::credentials`].
    pub const PASSWORD: Self = Self::new(
        "password",
        "",
        "the password, for configuration files; in a URL it stands behind the user",
    );
    /// See [`UrlOptions::credentials`].
    pub const PASSWORD_FILE: Self =
        Self::new("password_file", "", "a file with the password, which is read again for each session");
    /// See [`UrlOptions::credentials`].
    pub const PASSWORD_ENV: Self = Self::new(
        "password_env",
        "",
        "an environment variable with the password, which is read again for each session",
    );
    /// See [`UrlOptions::tls`].
    pub const TLS: Self =
        Self::new("tls", "", "`true` talks through TLS, as the scheme with an `s` at its end does");
    /// See [`UrlOptions::tls`].
    pub const CA: Self = Self::new(
        "ca",
        "",
        "PEM file of the authorities to trust, with TLS; without it those that this machine trusts",
    );
    /// See [`UrlOptions::tls`].
    pub const CERT: Self =
        Self::new("cert", "", "PEM file of our certificate; it is read again for each session");
    /// See [`UrlOptions::tls`].
    pub const KEY: Self =
        Self::new("key", "", "PEM file of the key of our certificate; it is read again for each session");

    /// An option with its default, which may be empty, and its meaning.
    pub const fn new(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { name, default, meaning }
    }
}

/// The options of a URL, which all belong to those that its backend declares.
#[derive(Debug)]
pub struct UrlOptions<'u> {
    url: &'u LockUrl,
    declared: &'static [UrlOption],
}

impl<'u> UrlOptions<'u> {
    pub(crate) fn new(url: &'u LockUrl, declared: &'static [UrlOption]) -> Result<Self> {
        let known = || declared.iter().chain([&UrlOption::REQUIRE]).map(|option| option.name);
        match url.option_names().find(|name| !known().any(|known| known == *name)) {
            None => Ok(Self { url, declared }),
            Some(name) => {
                let (scheme, valid) = (url.scheme(), known().collect::<Vec<_>>().join(", "));
                Err(invalid_config(format!("{scheme}:// has no option {name:?}; valid options: {valid}")))
            }
        }
    }

    fn declared(&self, name: &str) -> &'static UrlOption {
        let option = self.declared.iter().find(|option| option.name == name);
        option.expect("a driver reads no options but those that it declares")
    }

    /// The text of an option, or its default if it has one.
    pub fn text(&self, name: &str) -> Option<&'u str> {
        let default = self.declared(name).default;
        self.url.option(name).or((!default.is_empty()).then_some(default))
    }

    fn read<T>(&self, name: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
        let text = self.text(name).unwrap_or_default();
        parse(text).ok_or_else(|| invalid_config(format!("option {name}={text:?} is not {what}")))
    }

    /// A duration such as `10s` or `1m 30s`, or a number of seconds such as `2.5`; more than zero.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for anything else.
    pub fn duration(&self, name: &str) -> Result<Duration> {
        self.read(name, "a duration such as 10s or 500ms, or a number of seconds", duration)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for anything else.
    pub fn flag(&self, name: &str) -> Result<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// A number of this type.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for anything else.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        self.read(name, "a number that is valid here", |text| text.parse().ok())
    }

    /// One of several words.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for any other; it lists the valid ones.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T> {
        let valid = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        self.read(name, &format!("one of {valid}"), find)
    }

    /// A secret: the option of this name, or where it is read from, the options `<name>_file` and `<name>_env`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if it is given twice.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>> {
        self.declared(name);
        Secret::of(self.url, name)
    }

    /// The user and the password, of the URL and of the options [`password`](UrlOption::PASSWORD),
    /// [`password_file`](UrlOption::PASSWORD_FILE) and [`password_env`](UrlOption::PASSWORD_ENV).
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if the password is given twice.
    pub fn credentials(&self) -> Result<Option<Credentials>> {
        self.declared("password");
        Credentials::of(self.url)
    }

    /// The files for TLS, if that is used: as the option [`tls`](UrlOption::TLS) says, without it as the scheme does. Their names are in
    /// the options [`ca`](UrlOption::CA), [`cert`](UrlOption::CERT) and [`key`](UrlOption::KEY).
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if there are files and no TLS, or of our certificate and its key only one.
    pub fn tls(&self, by_scheme: bool) -> Result<Option<TlsFiles>> {
        let used = if self.text("tls").is_some() { self.flag("tls")? } else { by_scheme };
        let files = self.tls_files(["ca", "cert", "key"])?;
        if !used && files != TlsFiles::default() {
            return Err(invalid_config("the options ca, cert and key need TLS: tls=true"));
        }
        Ok(used.then_some(files))
    }

    /// The files for TLS that these options name: authorities, our certificate, and its key.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if of the certificate and the key only one is given.
    pub fn tls_files(&self, [ca, cert, key]: [&str; 3]) -> Result<TlsFiles> {
        let mut files = TlsFiles::new();
        if let Some(ca) = self.text(ca) {
            files = files.with_authority(ca);
        }
        match (self.text(cert), self.text(key)) {
            (Some(cert), Some(key)) => Ok(files.with_certificate(cert, key)),
            (None, None) => Ok(files),
            _ => Err(invalid_config(format!("of the options {cert} and {key}, one needs the other"))),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed.filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_options_have_the_same_defaults() {
        assert_eq!(duration(UrlOption::SESSION_TIMEOUT.default), Some(DEFAULT_SESSION_TIMEOUT));
        assert_eq!(duration(UrlOption::CONNECT_TIMEOUT.default), Some(DEFAULT_CONNECT_TIMEOUT));
    }
}
