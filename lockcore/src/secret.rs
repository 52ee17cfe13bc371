//! Passwords, and where they come from.

use std::env::VarError;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Result, invalid_config};
use crate::url::LockUrl;

/// A secret, or the place where it is read whenever a session is opened. `Debug` shows the place only.
///
/// ```
/// let secret = lockcore::Secret::from("sesame");
/// assert_eq!(secret.read()?, "sesame");
/// assert_eq!(format!("{secret:?}"), "Secret(given)");
/// # Ok::<_, lockcore::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Given(String),
    File(PathBuf),
    Variable(String),
}

impl Secret {
    /// What is in this file at the time, without the end of its last line.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// What is in this environment variable at the time.
    pub fn in_variable(name: impl Into<String>) -> Self {
        Self(Source::Variable(name.into()))
    }

    /// The secret, as it is now.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the file or the variable, if there is no text in it.
    pub fn read(&self) -> Result<String> {
        match &self.0 {
            Source::Given(text) => Ok(text.clone()),
            Source::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| {
                    invalid_config(format!("the secret in {} cannot be read", path.display()))
                        .with_source(source)
                })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let line = line.strip_suffix('\r').unwrap_or(line);
                not_empty(line, || format!("the secret in {} is empty", path.display()))
            }
            Source::Variable(name) => match std::env::var(name) {
                Ok(text) => not_empty(&text, || format!("the environment variable {name} is empty")),
                Err(VarError::NotPresent) => {
                    Err(invalid_config(format!("the environment variable {name} is not set")))
                }
                // The error would show the value.
                Err(VarError::NotUnicode(_)) => {
                    Err(invalid_config(format!("the environment variable {name} is not UTF-8")))
                }
            },
        }
    }

    /// What the options of this name say.
    pub(crate) fn of(url: &LockUrl, name: &str) -> Result<Option<Self>> {
        let [file, variable] = ["file", "env"].map(|place| format!("{name}_{place}"));
        let given = [
            url.option(name).map(Self::from),
            url.option(&file).map(Self::in_file),
            url.option(&variable).map(Self::in_variable),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (secret, None) => Ok(secret),
            _ => Err(invalid_config(format!(
                "of the options {name}, {file} and {variable}, only one is meant"
            ))),
        }
    }
}

fn not_empty(text: &str, message: impl Fn() -> String) -> Result<String> {
    if text.is_empty() { Err(invalid_config(message())) } else { Ok(text.to_owned()) }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Source::Given(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Given(_) => f.write_str("Secret(given)"),
            Source::File(path) => write!(f, "Secret(in {})", path.display()),
            Source::Variable(name) => write!(f, "Secret(in ${name})"),
        }
    }
}

/// As whom a driver connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: Option<Secret>,
}

impl Credentials {
    /// This user, who may be nameless, with a password where one is needed.
    pub fn new(user: impl Into<String>, password: Option<Secret>) -> Self {
        Self { user: user.into(), password }
    }

    /// The user; empty if only a password is given.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether there is a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The password as it is now, if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Secret::read`].
    pub fn password(&self) -> Result<Option<String>> {
        self.password.as_ref().map(Secret::read).transpose()
    }

    /// The same, if there are both a user and a password.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if one is missing.
    pub fn complete(self) -> Result<Self> {
        if self.user.is_empty() || self.password.is_none() {
            return Err(invalid_config(
                "there is a user without a password, or a password without a user: write user:password@ before the hosts, or \
                 user@ and the option password_file or password_env",
            ));
        }
        Ok(self)
    }

    /// What the URL says, before its hosts and in its options; an empty password is none.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if it has two passwords.
    pub fn of(url: &LockUrl) -> Result<Option<Self>> {
        let (user, before_hosts) = url.credentials().unwrap_or_default();
        let before_hosts = before_hosts.filter(|password| !password.is_empty()).map(Secret::from);
        let password = match (before_hosts, Secret::of(url, "password")?) {
            (Some(_), Some(_)) => {
                return Err(invalid_config(
                    "there is a password before the hosts and another in the options",
                ));
            }
            (before_hosts, in_options) => before_hosts.or(in_options),
        };
        let given = url.credentials().is_some() || password.is_some();
        Ok(given.then(|| Self::new(user, password)))
    }
}
