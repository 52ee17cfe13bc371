//! URLs that say where locks live: `scheme://[user[:password]@]host[:port][,host…]/path?option=value&…`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::error::{Error, Result, invalid_config};

/// A parsed URL. Unlike an ordinary URL it may name several hosts. Neither `Debug` nor `Display` show
/// credentials or options.
#[derive(Clone, PartialEq, Eq)]
pub struct LockUrl {
    scheme: String,
    credentials: Option<(String, Option<String>)>,
    hosts: Vec<String>,
    path: String,
    options: BTreeMap<String, String>,
}

impl LockUrl {
    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// User and password, decoded.
    pub fn credentials(&self) -> Option<(&str, Option<&str>)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_deref()))
    }

    /// The hosts, each with its port where one was given, in the order of the URL; empty if there is none.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The hosts, each with a port.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if there is no host, or a port is not a number from 1
    /// to 65535.
    pub fn endpoints(&self, default_port: u16) -> Result<Vec<String>> {
        if self.hosts.is_empty() {
            let scheme = &self.scheme;
            return Err(invalid_config(format!(
                "{self} names no host, expected {scheme}://host:{default_port}/…"
            )));
        }
        self.hosts.iter().map(|host| endpoint(host, default_port)).collect()
    }

    /// The path, decoded, with its leading `/`; empty if there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options, to be taken one by one.
    pub fn options(&self) -> UrlOptions<'_> {
        UrlOptions { url: self, known: RefCell::new(Vec::new()) }
    }

    /// The same URL with other hosts.
    #[must_use]
    pub fn with_hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// The same URL with these options in addition.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if an option is in the URL already.
    pub fn with_options(mut self, options: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        for (name, value) in options {
            if self.options.insert(name.clone(), value).is_some() {
                return Err(invalid_config(format!("option {name:?} is given twice")));
            }
        }
        Ok(self)
    }

    /// The same URL without this option, and its value.
    pub(crate) fn take_option(mut self, name: &str) -> (Self, Option<String>) {
        let value = self.options.remove(name);
        (self, value)
    }
}

fn endpoint(host: &str, default_port: u16) -> Result<String> {
    // The colons of an IPv6 address stand in brackets.
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let (name, port) = match host[end..].find(':') {
        Some(colon) => (&host[..end + colon], host[end + colon + 1..].parse().ok()),
        None => (host, Some(default_port)),
    };
    let bracketed = name.starts_with('[') && name.len() == end && end > 2;
    if !bracketed && (name.is_empty() || name.contains(['[', ']'])) {
        return Err(invalid_config(format!("host {host:?} has no name, expected name:port or [IPv6]:port")));
    }
    match port.filter(|port| *port != 0) {
        Some(port) => Ok(format!("{name}:{port}")),
        None => Err(invalid_config(format!(
            "host {host:?} has no port from 1 to 65535; an IPv6 address is written in brackets"
        ))),
    }
}

impl FromStr for LockUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The text itself stays out of the messages: it may contain a password.
        let (scheme, rest) = text.split_once("://").ok_or_else(|| not_a_url(text))?;
        let valid = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(valid) {
            return Err(invalid_config(
                "the URL's scheme is not valid: expected letters, digits, +, - and .",
            ));
        }
        if rest.contains('#') {
            return Err(invalid_config("the URL has a fragment: write # as %23"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password with a raw / or ? would end the authority, and stand where it is shown.
        if query.contains('@') || rest.split_once('/').is_some_and(|(_, path)| path.contains('@')) {
            return Err(invalid_config(
                "the URL has an @ behind its hosts: write @ as %40, / as %2F and ? as %3F",
            ));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(parse_credentials(credentials)?), hosts),
            None => (None, authority),
        };
        let url = Self {
            scheme: scheme.to_ascii_lowercase(),
            credentials,
            hosts: parse_hosts(hosts)?,
            path: decode(path, "path")?,
            options: BTreeMap::new(),
        };
        url.with_options(form_urlencoded::parse(query.as_bytes()).into_owned())
    }
}

fn not_a_url(text: &str) -> Error {
    // What begins like a path has no password.
    match text.starts_with('/') {
        true => invalid_config(format!("not a URL: the directory {text} is written file://{text}")),
        false => invalid_config("not a URL: expected scheme://host:port/path?option=value, or file:///path"),
    }
}

fn parse_credentials(text: &str) -> Result<(String, Option<String>)> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(decode(password, "password")?)),
        None => (text, None),
    };
    Ok((decode(user, "user")?, password))
}

fn parse_hosts(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let hosts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let valid = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
    match hosts.iter().find(|host| host.is_empty() || !host.chars().all(valid)) {
        Some(host) => Err(invalid_config(format!("host {host:?} in the URL is not valid"))),
        None => Ok(hosts),
    }
}

fn decode(text: &str, part: &str) -> Result<String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(invalid_config(format!("the URL's {part} is not UTF-8"))),
    }
}

impl fmt::Display for LockUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.hosts.join(","), self.path)
    }
}

impl fmt::Debug for LockUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockUrl").field(&format_args!("{self}")).finish()
    }
}

/// The options of a URL. Take each that the backend knows, then [`finish`](Self::finish): what is left over is
/// an error that lists the valid ones.
#[derive(Debug)]
pub struct UrlOptions<'u> {
    url: &'u LockUrl,
    known: RefCell<Vec<&'static str>>,
}

impl<'u> UrlOptions<'u> {
    /// The text of an option.
    pub fn text(&self, name: &'static str) -> Option<&'u str> {
        self.known.borrow_mut().push(name);
        self.url.options.get(name).map(String::as_str)
    }

    /// A duration such as `10s` or `1m 30s`, more than zero.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for anything else.
    pub fn duration(&self, name: &'static str, default: Duration) -> Result<Duration> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() => Ok(duration),
            _ => {
                Err(invalid_config(format!("option {name}={text:?} is not a duration such as 10s or 500ms")))
            }
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for anything else.
    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        self.choice(name, &[("true", true), ("false", false)], default)
    }

    /// One of several words.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for any other; it lists the valid ones.
    pub fn choice<T: Copy>(&self, name: &'static str, words: &[(&str, T)], default: T) -> Result<T> {
        let Some(text) = self.text(name) else { return Ok(default) };
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let valid: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            invalid_config(format!("option {name}={text:?} is not one of {}", valid.join(", ")))
        })
    }

    /// Checks that all options have been taken.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the unknown option and lists the valid ones.
    pub fn finish(self) -> Result<()> {
        let mut known = self.known.into_inner();
        known.push("require");
        match self.url.options.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(invalid_config(format!(
                "{}:// has no option {name:?}; valid options: {}",
                self.url.scheme,
                known.join(", ")
            ))),
        }
    }
}
