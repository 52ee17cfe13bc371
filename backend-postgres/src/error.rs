//! What errors of PostgreSQL and its client library mean.

use std::error::Error as _;
use std::io;

use lockcore::{Effect, Error, ErrorKind};
use tokio_postgres::Error as ClientError;
use tokio_postgres::error::{DbError, Severity, SqlState};

type Row = (ErrorKind, Effect, bool, &'static str);

const BROKEN: Row = (ErrorKind::Unreachable, Effect::Unknown, true, "the connection was lost");

/// The one table of errors. What is not sure to have changed nothing has an unknown effect.
pub(crate) fn error(source: ClientError) -> Error {
    let (kind, effect, retryable, message) = match source.as_db_error() {
        Some(said) => row(said),
        None => BROKEN,
    };
    Error::new(kind, message).with_effect(effect).with_retryable(retryable).with_source(source)
}

/// The same for an attempt to connect. What TLS or the client library refuse will not be otherwise the next time.
pub(crate) fn connect_error(source: ClientError) -> Error {
    let cause = source.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let refused = match cause {
        Some(cause) => {
            cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()).map(|_| "TLS is refused")
        }
        None if source.as_db_error().is_some() || source.is_closed() => None,
        None => Some("no connection can be made like this"),
    };
    match refused {
        Some(message) => Error::new(ErrorKind::InvalidConfig, message).with_source(source),
        None => error(source),
    }
}

/// Whether the connection is of no use any more.
pub(crate) fn needs_reconnect(source: &ClientError) -> bool {
    match source.as_db_error() {
        Some(said) => is_over(said) || said.code() == &SqlState::READ_ONLY_SQL_TRANSACTION,
        None => true,
    }
}

/// Whether the server ended the connection when it said so.
fn is_over(said: &DbError) -> bool {
    !matches!(said.parsed_severity(), Some(Severity::Error))
}

/// Our requests are single calls, and transactions of their own: one that is refused has changed nothing.
fn row(said: &DbError) -> Row {
    let effect = if is_over(said) { Effect::Unknown } else { Effect::None };
    let code = said.code();
    let (kind, retryable, message) = match code.code() {
        "53100" => (ErrorKind::Backend, false, "the disk of the server is full"),
        "53300" => {
            (ErrorKind::Unreachable, true, "the server has as many connections as it may (max_connections)")
        }
        "55P03" => (ErrorKind::Unreachable, true, "somebody else's transaction has it locked"),
        "25006" => (ErrorKind::Unreachable, true, "the server is read-only"),
        "3D000" => (ErrorKind::InvalidConfig, false, "there is no such database"),
        "3F000" | "42P01" | "42883" | "42703" => {
            (ErrorKind::InvalidConfig, false, "the schema is not there, or is not ours")
        }
        "42501" => (ErrorKind::PermissionDenied, false, "this is not permitted"),
        code if code.starts_with("28") => {
            (ErrorKind::PermissionDenied, false, "these credentials are refused")
        }
        // Shut down, crashed, starting, cancelled, too slow; not serializable, a deadlock; out of memory.
        code if ["08", "57", "40", "53"].iter().any(|class| code.starts_with(class)) => {
            (ErrorKind::Unreachable, true, "the request was not executed")
        }
        _ => (ErrorKind::Backend, false, "the server reported an error"),
    };
    (kind, effect, retryable, message)
}
