//! What errors of etcd and its client library mean.

use std::error::Error as _;
use std::fmt;

use etcd_client::Error as ClientError;
use lockcore::{Effect, Error, ErrorKind, tls};
use tonic::{Code, Status};

type Row = (ErrorKind, Effect, bool, &'static str);

const BROKEN: Row = (
    ErrorKind::Unreachable,
    Effect::Unknown,
    true,
    "the connection was lost: see whether the server runs and can be reached",
);
const REFUSED: Row =
    (ErrorKind::Backend, Effect::None, false, "etcd refused the request, for the reason that follows");

/// The one table of errors. What is not sure to have changed nothing has an unknown effect.
pub(crate) fn error(source: ClientError) -> Error {
    use ClientError as E;
    if let Some(refused) = tls::refused(cause(&source)) {
        return refused.with_source(Said(source));
    }
    let (kind, effect, retryable, message) = match &source {
        E::GRpcStatus(status) => row(status),
        // The two streams say so when they end.
        E::IoError(_) | E::TransportError(_) | E::WatchError(_) | E::LeaseKeepAliveError(_) => BROKEN,
        E::InvalidArgs(_) | E::InvalidUri(_) | E::InvalidMetadataValue(_) | E::EndpointError(_) => (
            ErrorKind::InvalidConfig,
            Effect::None,
            false,
            "the client library refuses its configuration: correct the URL",
        ),
        E::Utf8Error(_) => {
            (ErrorKind::Backend, Effect::Unknown, true, "the answer makes no sense: is this an etcd server?")
        }
        _ => (ErrorKind::Backend, Effect::Unknown, false, "the client library reported an error"),
    };
    Error::new(kind, message).with_effect(effect).with_retryable(retryable).with_source(Said(source))
}

/// What the server or the client library said, in words: the latter shows what caused it as programmers write it.
#[derive(Debug)]
struct Said(ClientError);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ClientError::GRpcStatus(status) if status.message().is_empty() => {
                f.write_str(status.code().description())
            }
            ClientError::GRpcStatus(status) => f.write_str(status.message()),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            ClientError::GRpcStatus(status) => status.source(),
            error => error.source(),
        }
    }
}

/// What an error of the client library contains, which it does not tell as its source.
fn cause(source: &ClientError) -> &(dyn std::error::Error + 'static) {
    match source {
        ClientError::GRpcStatus(status) => status,
        ClientError::TransportError(error) => error,
        ClientError::IoError(error) => error,
        other => other,
    }
}

/// The messages are those of etcd's `rpctypes`: several errors share one code.
fn row(status: &Status) -> Row {
    // What the server said has no source; what broke on the way to it has, whatever its code.
    if status.source().is_some() {
        return BROKEN;
    }
    match status.code() {
        // "leader changed", "no leader", "request timed out", "server stopped": it may still be executed.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => (
            ErrorKind::Unreachable,
            Effect::Unknown,
            true,
            "the request was not executed in time: see whether a majority of the servers runs",
        ),
        Code::NotFound if status.message().ends_with("requested lease not found") => {
            (ErrorKind::SessionLost, Effect::None, true, "the lease of the session is over: acquire again")
        }
        Code::Unauthenticated => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "the credentials are wanted again: the next request gives them",
        ),
        Code::InvalidArgument if status.message().ends_with("revision of auth store is old") => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "the credentials are wanted again: the next request gives them",
        ),
        Code::InvalidArgument | Code::FailedPrecondition if is_about_credentials(status.message()) => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "these credentials are refused: correct user and password in the URL",
        ),
        Code::PermissionDenied => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "this is not permitted: grant the user readwrite on the keys below the root of the URL",
        ),
        Code::ResourceExhausted if status.message().ends_with("too many requests") => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "the server is overloaded: try again later, or use fewer clients",
        ),
        // The request that fills the database is executed all the same.
        Code::ResourceExhausted if is_full(status) => (
            ErrorKind::Backend,
            Effect::Unknown,
            false,
            "the database is full: compact and defragment it, or raise its quota, then `etcdctl alarm disarm`",
        ),
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::Unimplemented => REFUSED,
        _ => (ErrorKind::Backend, Effect::Unknown, false, "the server reported an error"),
    }
}

fn is_full(status: &Status) -> bool {
    status.message().ends_with("database space exceeded")
}

/// Whether the request is not executed later, whether it was executed or not.
pub(crate) fn is_settled(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<Said>());
    error.effect() == Effect::None
        || matches!(source, Some(Said(ClientError::GRpcStatus(status))) if is_full(status))
}

/// Whether the server does not take the password.
pub(crate) fn refuses_password(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<Said>());
    matches!(source, Some(Said(ClientError::GRpcStatus(status))) if is_about_credentials(status.message()))
}

fn is_about_credentials(message: &str) -> bool {
    ["authentication failed", "user name is empty", "authentication is not enabled"]
        .iter()
        .any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use ClientError as E;
    use Effect::{None as Nothing, Unknown};
    use ErrorKind::{Backend, InvalidConfig, PermissionDenied, SessionLost, Unreachable};

    fn check(source: ClientError, kind: ErrorKind, effect: Effect, retryable: bool) {
        let text = match &source {
            E::GRpcStatus(status) => status.message().to_owned(),
            said => said.to_string(),
        };
        let mapped = error(source);
        assert_eq!((mapped.kind(), mapped.effect()), (kind, effect), "{text}");
        assert_eq!(mapped.is_retryable(), retryable, "{text}");
        assert_eq!(mapped.source().map(ToString::to_string), Some(text));
    }

    #[test]
    fn every_row_of_the_server() {
        for (code, message, kind, effect, retryable) in [
            (Code::Unavailable, "etcdserver: leader changed", Unreachable, Unknown, true),
            (Code::Unavailable, "etcdserver: no leader", Unreachable, Unknown, true),
            (Code::Unavailable, "etcdserver: request timed out", Unreachable, Unknown, true),
            (Code::DeadlineExceeded, "context deadline exceeded", Unreachable, Unknown, true),
            (Code::Cancelled, "context canceled", Unreachable, Unknown, true),
            (Code::Aborted, "aborted", Unreachable, Unknown, true),
            (Code::NotFound, "etcdserver: requested lease not found", SessionLost, Nothing, true),
            (Code::NotFound, "etcdserver: member not found", Backend, Nothing, false),
            (Code::Unauthenticated, "etcdserver: invalid auth token", Unreachable, Nothing, true),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Unreachable, Nothing, true),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                PermissionDenied,
                Nothing,
                false,
            ),
            (Code::InvalidArgument, "etcdserver: user name is empty", PermissionDenied, Nothing, false),
            (
                Code::FailedPrecondition,
                "etcdserver: authentication is not enabled",
                PermissionDenied,
                Nothing,
                false,
            ),
            (Code::PermissionDenied, "etcdserver: permission denied", PermissionDenied, Nothing, false),
            (Code::ResourceExhausted, "etcdserver: too many requests", Unreachable, Nothing, true),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Backend, Unknown, false),
            (Code::ResourceExhausted, "decoded message length too large", Backend, Unknown, false),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Backend,
                Nothing,
                false,
            ),
            (Code::FailedPrecondition, "etcdserver: lease already exists", Backend, Nothing, false),
            (Code::Unimplemented, "unknown method", Backend, Nothing, false),
            (Code::Unknown, "anything", Backend, Unknown, false),
            (Code::Internal, "anything", Backend, Unknown, false),
            (Code::DataLoss, "etcdserver: corrupt cluster", Backend, Unknown, false),
        ] {
            check(E::GRpcStatus(Status::new(code, message)), kind, effect, retryable);
        }
    }

    #[test]
    fn what_is_not_executed_later() {
        for (code, message, settled) in [
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", true),
            (Code::PermissionDenied, "etcdserver: permission denied", true),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (Code::Unknown, "anything", false),
        ] {
            let error = error(E::GRpcStatus(Status::new(code, message))).with_context("append");
            assert_eq!(is_settled(&error), settled, "{message}");
        }
        assert!(!is_settled(&Error::new(Unreachable, "no answer in time")));
    }

    #[test]
    fn every_row_of_the_client() {
        let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
        check(E::GRpcStatus(Status::from_error(Box::new(broken()))), Unreachable, Unknown, true);
        check(E::IoError(broken()), Unreachable, Unknown, true);
        check(E::WatchError("channel closed".to_owned()), Unreachable, Unknown, true);
        check(E::LeaseKeepAliveError("channel closed".to_owned()), Unreachable, Unknown, true);
        check(E::InvalidArgs("empty endpoints".to_owned()), InvalidConfig, Nothing, false);
        check(E::EndpointError("no such".to_owned()), InvalidConfig, Nothing, false);
        check(
            E::InvalidUri("http://[".parse::<tonic::codegen::http::Uri>().unwrap_err()),
            InvalidConfig,
            Nothing,
            false,
        );
        check(E::ElectError("none".to_owned()), Backend, Unknown, false);
        check(E::Internal("none".to_owned()), Backend, Unknown, false);
        let text = String::from_utf8(vec![0xff]).map_err(|error| error.utf8_error());
        check(E::Utf8Error(text.unwrap_err()), Backend, Unknown, true);
    }
}
