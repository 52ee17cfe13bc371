//! What is written down about a lock, and outlives everybody who has held it.

use std::time::SystemTime;

use crate::entry::FencingToken;
use crate::error::{Effect, Error, ErrorKind};

/// A text about a lock, such as when its job ran last. There is one for each lock, and it belongs to whoever had the largest token of
/// those who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Under which token it was written.
    pub token: FencingToken,
    /// The text, of at most [`Record::MAX`] bytes.
    pub text: String,
}

impl Record {
    /// The longest text, in bytes.
    pub const MAX: usize = 1024;

    /// The record as one text, for drivers: the token, a space, the text.
    pub fn encode(token: FencingToken, text: &str) -> String {
        format!("{token} {text}")
    }

    /// The record of which this is the text; `None` for what [`encode`](Self::encode) cannot have made.
    ///
    /// # Examples
    ///
    /// ```
    /// use lockcore::{FencingToken, Record};
    ///
    /// let text = Record::encode(FencingToken::new(7), "some text");
    /// let record = Record::decode(text.as_bytes()).unwrap();
    /// assert_eq!((record.token.get(), &*record.text), (7, "some text"));
    /// assert_eq!(Record::decode(b"no number"), None);
    /// ```
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let (token, text) = std::str::from_utf8(encoded).ok()?.split_once(' ')?;
        Some(Self { token: FencingToken::new(token.parse().ok()?), text: text.to_owned() })
    }
}

/// What a place has recorded about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The record, if there is one.
    pub record: Option<Record>,
    /// What time it is there: by the server's clock where that tells the time of day, else by ours.
    pub now: SystemTime,
}

/// The error of those who keep no records.
pub(crate) fn no_records() -> Error {
    Error::new(ErrorKind::Backend, "this backend keeps no records").with_effect(Effect::None)
}
