//! Names of locks, and how they become path components and keys.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use smol_str::SmolStr;

use crate::error::{Error, Result, invalid_input};

/// The name of a lock: any non-empty UTF-8 text of at most [`MAX`](Self::MAX) bytes.
///
/// Names are compared byte by byte: `A` and `a` are different locks, and so are the composed and the decomposed
/// form of one letter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockName(SmolStr);

/// Everything but letters, digits, `-` and `_`; a `.` that is the first character is escaped as well.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl LockName {
    /// The longest name, in bytes.
    pub const MAX: usize = 512;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an empty name or one of more than
    /// [`MAX`](Self::MAX) bytes.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(invalid_input("the name of a lock must not be empty"));
        }
        if name.len() > Self::MAX {
            let (length, max) = (name.len(), Self::MAX);
            return Err(invalid_input(format!("a lock name has at most {max} bytes, this one has {length}")));
        }
        Ok(Self(name.into()))
    }

    /// The name as the application gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one component of a path or key: ASCII letters, digits, `-`, `_`, `.` (not in front) and
    /// `%XX`, at most three times as long. Different names have different encodings, and
    /// [`decode`](Self::decode) is the way back.
    ///
    /// # Examples
    ///
    /// ```
    /// let name = lockcore::LockName::new("orders/42")?;
    /// assert_eq!(name.encode(), "orders%2F42");
    /// assert_eq!(lockcore::LockName::decode("orders%2F42"), Some(name));
    /// assert_eq!(lockcore::LockName::new("..")?.encode(), "%2E.");
    /// # Ok::<_, lockcore::Error>(())
    /// ```
    pub fn encode(&self) -> String {
        let rest = self.0.strip_prefix('.');
        let dot = if rest.is_some() { "%2E" } else { "" };
        format!("{dot}{}", utf8_percent_encode(rest.unwrap_or(&self.0), ESCAPED))
    }

    /// The name of which this is the encoding; `None` for text that [`encode`](Self::encode) cannot have made.
    pub fn decode(encoded: &str) -> Option<Self> {
        let name = percent_decode_str(encoded).decode_utf8().ok()?;
        Self::new(&name).ok().filter(|name| name.encode() == encoded)
    }
}

impl FromStr for LockName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
