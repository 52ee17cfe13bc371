//! What errors of PostgreSQL and its client library mean.

use std::error::Error as _;
use std::io;

use lockcore::{Effect, Error, ErrorKind, tls};
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
    let refused = match (tls::refused(&source), cause) {
        (Some(refused), _) => refused,
        (None, Some(_)) => return error(source),
        (None, None) if source.as_db_error().is_some() || source.is_closed() => return error(source),
        (None, None) => invalid("no connection can be made like this"),
    };
    refused.with_source(source)
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
    // Such as of a disk that is too full for its log: it starts again, and has or has not what it was writing.
    if said.parsed_severity() == Some(Severity::Panic) {
        return (ErrorKind::Unreachable, Effect::Unknown, true, "the server crashed");
    }
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

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use conformance::server::Postgres;
    use tokio_postgres::NoTls;

    use super::*;
    use Effect::{None as Nothing, Unknown};
    use ErrorKind::{Backend, InvalidConfig, PermissionDenied, Unreachable};

    #[tokio::test]
    async fn every_row_of_the_server() {
        let server = Postgres::start().await.unwrap();
        let (host, port) = server.address().rsplit_once(':').unwrap();
        let config = format!("host={host} port={port} user=postgres dbname=postgres");
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        for (code, kind, retryable) in [
            ("53100", Backend, false),
            ("53200", Unreachable, true),
            ("53300", Unreachable, true),
            ("55P03", Unreachable, true),
            ("57014", Unreachable, true),
            ("57P03", Unreachable, true),
            ("40001", Unreachable, true),
            ("40P01", Unreachable, true),
            ("25006", Unreachable, true),
            ("08006", Unreachable, true),
            ("28P01", PermissionDenied, false),
            ("42501", PermissionDenied, false),
            ("3D000", InvalidConfig, false),
            ("3F000", InvalidConfig, false),
            ("42P01", InvalidConfig, false),
            ("42883", InvalidConfig, false),
            ("22012", Backend, false),
            ("XX001", Backend, false),
        ] {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$");
            let said = client.batch_execute(&raise).await.unwrap_err();
            assert_eq!(needs_reconnect(&said), code == "25006", "{code}");
            let mapped = error(said);
            assert_eq!((mapped.kind(), mapped.effect()), (kind, Nothing), "{code}");
            assert_eq!(mapped.is_retryable(), retryable, "{code}");
        }
        let ended = client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
        assert!(needs_reconnect(&ended));
        let mapped = error(ended);
        assert_eq!((mapped.kind(), mapped.effect(), mapped.is_retryable()), (Unreachable, Unknown, true));
        let broken = error(client.batch_execute("SELECT 1").await.unwrap_err());
        assert_eq!((broken.kind(), broken.effect()), (Unreachable, Unknown));
    }
}
