//! The error of every operation: what went wrong, whether it took effect, whether to try again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::session::Loss;

/// The result of every operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A lock name, label, number of permits or other argument is not valid.
    InvalidInput,
    /// The URL or the configuration is not valid, or asks for what the backend cannot give.
    InvalidConfig,
    /// The service could not be reached, or did not answer in time.
    Unreachable,
    /// The server refuses these credentials, or they may not do this.
    PermissionDenied,
    /// The lock was not had within the time that the handle [waits](crate::AcquireOptions::wait), or too many were ahead.
    NotInTime,
    /// The session ended while the operation ran. Trying again opens a new one.
    SessionLost,
    /// Somebody removed our entry from the queue.
    EntryRemoved,
    /// Another program uses this semaphore with another number of permits.
    LimitMismatch,
    /// The service has been closed.
    Closed,
    /// The server or its client library reported something else.
    Backend,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::InvalidConfig => "invalid configuration",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::NotInTime => "not in time",
            ErrorKind::SessionLost => "session lost",
            ErrorKind::EntryRemoved => "entry removed",
            ErrorKind::LimitMismatch => "limit mismatch",
            ErrorKind::Closed => "closed",
            ErrorKind::Backend => "backend error",
        })
    }
}

/// Whether a failed operation changed anything on the server. There is no fourth possibility: a `match` may name all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It changed nothing.
    None,
    /// It may have changed something, or may still do so.
    Unknown,
    /// It did what it was asked to, and only then went wrong.
    Done,
}

/// An error, with its [kind](ErrorKind), its [effect](Effect) and its source. Cheap to clone.
///
/// Its text says what was being done, with which lock and where, what went wrong, and what to do about it; what the server or its
/// client library said is the [source](std::error::Error::source).
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    effect: Effect,
    retryable: bool,
    message: Cow<'static, str>,
    loss: Option<Loss>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind. Its effect is [unknown](Effect::Unknown) where a server was involved, unless
    /// [`with_effect`](Self::with_effect) says otherwise, and none where the request never left.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let (effect, retryable) = match kind {
            ErrorKind::InvalidInput | ErrorKind::InvalidConfig => (Effect::None, false),
            ErrorKind::LimitMismatch | ErrorKind::Closed => (Effect::None, false),
            ErrorKind::PermissionDenied => (Effect::None, false),
            ErrorKind::NotInTime => (Effect::None, true),
            ErrorKind::SessionLost | ErrorKind::EntryRemoved => (Effect::None, true),
            ErrorKind::Unreachable => (Effect::Unknown, true),
            ErrorKind::Backend => (Effect::Unknown, false),
        };
        let message = message.into();
        Self { inner: Arc::new(Inner { kind, effect, retryable, message, loss: None, source: None }) }
    }

    /// The same error with another effect.
    #[must_use]
    pub fn with_effect(self, effect: Effect) -> Self {
        self.change(|inner| inner.effect = effect)
    }

    /// The same error, worth trying again or not.
    #[must_use]
    pub fn with_retryable(self, retryable: bool) -> Self {
        self.change(|inner| inner.retryable = retryable)
    }

    /// The same error with the error that caused it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.change(|inner| inner.source = Some(source.into().into()))
    }

    /// The same error, telling first what was being done.
    ///
    /// # Examples
    ///
    /// ```
    /// use lockcore::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Unreachable, "no answer").with_context("look at lock \"a\"");
    /// assert_eq!(error.to_string(), "look at lock \"a\": no answer");
    /// ```
    #[must_use]
    pub fn with_context(self, context: impl fmt::Display) -> Self {
        self.change(|inner| inner.message = format!("{context}: {}", inner.message).into())
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        change(&mut inner);
        Self { inner: Arc::new(inner) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether it changed anything on the server.
    pub fn effect(&self) -> Effect {
        self.inner.effect
    }

    /// Whether the same call can succeed later without anybody changing the program or its configuration.
    pub fn is_retryable(&self) -> bool {
        self.inner.retryable
    }

    /// Why what the operation stood on is lost, if that is the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use lockcore::{Error, ErrorKind, Loss};
    ///
    /// let error = Error::lost(Loss::Deadline).with_context("verify lock \"a\"");
    /// assert_eq!((error.kind(), error.loss()), (ErrorKind::SessionLost, Some(Loss::Deadline)));
    /// ```
    pub fn loss(&self) -> Option<Loss> {
        self.inner.loss
    }

    /// The error of an operation that lost what it stood on.
    pub fn lost(loss: Loss) -> Self {
        let kind = match loss {
            Loss::Removed => ErrorKind::EntryRemoved,
            Loss::Closed => ErrorKind::Closed,
            Loss::Expired | Loss::Deadline | Loss::Abandoned => ErrorKind::SessionLost,
        };
        let advice = match loss {
            Loss::Removed => "acquire it again, unless somebody removed it on purpose",
            Loss::Closed => "connect again",
            Loss::Expired => "acquire again",
            Loss::Deadline => "acquire again; a longer session_timeout= outlives longer interruptions",
            Loss::Abandoned => "acquire again, on a runtime that goes on running",
        };
        Self::new(kind, format!("{loss}: {advice}")).change(|inner| inner.loss = Some(loss))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, effect, retryable, message, loss, source } = &*self.inner;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("effect", effect)
            .field("retryable", retryable)
            .field("message", message)
            .field("loss", loss)
            .field("source", source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// Shorthand for a wrong argument.
pub(crate) fn invalid_input(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Shorthand for a wrong URL or configuration.
pub(crate) fn invalid_config(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
