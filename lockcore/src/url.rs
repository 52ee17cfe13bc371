//! URLs that say where locks live: `scheme://[user[:password]@]host[:port][,host…]/path?option=value&…`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::error::{Error, Result, invalid_config};
use crate::url_options::{UrlOption, UrlOptions};

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

    /// The options, which have to be among those that the backend declares.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names an unknown option and lists the valid ones.
    pub fn options(&self, declared: &'static [UrlOption]) -> Result<UrlOptions<'_>> {
        UrlOptions::new(self, declared)
    }

    /// What is given as this option, whoever may know it.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) fn option_names(&self) -> impl Iterator<Item = &str> {
        self.options.keys().map(String::as_str)
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

/// The host of a server `host:port`, without the brackets of an IPv6 address, and the port.
///
/// ```
/// assert_eq!(lockcore::host_and_port("[::1]:2181"), ("::1", Some(2181)));
/// ```
pub fn host_and_port(server: &str) -> (&str, Option<u16>) {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok())
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
