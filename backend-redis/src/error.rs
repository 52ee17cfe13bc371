//! What errors of Redis and its client library mean.

use lockcore::{Effect, Error, ErrorKind, tls};
use redis::{ErrorKind as ClientErrorKind, RedisError, ServerErrorKind};

type Row = (ErrorKind, Effect, bool, &'static str);

/// The one table of errors. What is not sure to have changed nothing has an unknown effect. `context` says what was asked for,
/// and of whom.
pub(crate) fn error(source: RedisError, context: &str) -> Error {
    if let Some(refused) = tls::refused(&source) {
        return refused.with_context(context).with_source(source);
    }
    let (kind, effect, retryable, message) = row(&source);
    Error::new(kind, format!("{context}: {message}"))
        .with_effect(effect)
        .with_retryable(retryable)
        .with_source(source)
}

fn row(source: &RedisError) -> Row {
    use ClientErrorKind as C;
    use ServerErrorKind as S;
    match source.kind() {
        C::Io => (
            ErrorKind::Unreachable,
            Effect::Unknown,
            true,
            "the connection to Redis was lost: see whether it runs and can be reached",
        ),
        C::Server(S::ReadOnly | S::MasterDown) => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "this Redis server is not the master: with redis+sentinel:// the master is found",
        ),
        C::Server(S::BusyLoading | S::ClusterDown | S::TryAgain | S::Moved | S::Ask | S::NoScript) => {
            (ErrorKind::Unreachable, Effect::None, true, "Redis cannot serve this now: try again later")
        }
        C::ClusterConnectionNotFound | C::MasterNameNotFoundBySentinel => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "no master is known that serves this: see whether the cluster, or the sentinels, have one",
        ),
        C::AuthenticationFailed => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "Redis refuses these credentials: correct user and password in the URL",
        ),
        C::Server(S::NoPerm) => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "Redis does not permit this: allow the user scripts, and the keys and channels that begin with prefix=",
        ),
        C::Server(S::CrossSlot) => (
            ErrorKind::Backend,
            Effect::None,
            false,
            "Redis refused the request: is it a cluster? then the URL begins with redis+cluster://",
        ),
        C::InvalidClientConfig | C::EmptySentinelList => (
            ErrorKind::InvalidConfig,
            Effect::None,
            false,
            "Redis cannot be reached like this: correct the URL",
        ),
        C::Parse => (
            ErrorKind::Backend,
            Effect::Unknown,
            true,
            "the answer of Redis makes no sense: is this a Redis server?",
        ),
        C::Extension => by_code(source.code().unwrap_or_default()),
        _ => (ErrorKind::Backend, Effect::Unknown, false, "Redis reported an error"),
    }
}

/// Errors that the client library does not know by name. All of these are said before anything is executed, the
/// last three by our own scripts.
fn by_code(code: &str) -> Row {
    match code {
        "NOAUTH" | "WRONGPASS" => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "Redis refuses these credentials: correct user and password in the URL",
        ),
        "BUSY" | "MISCONF" | "NOREPLICAS" => {
            (ErrorKind::Unreachable, Effect::None, true, "Redis cannot serve this now: try again later")
        }
        "WRONGTYPE" => (
            ErrorKind::Backend,
            Effect::None,
            false,
            "the key of the lock holds something else: choose another prefix= or name",
        ),
        "OOM" => (
            ErrorKind::Backend,
            Effect::None,
            false,
            "Redis has no memory for another entry: raise maxmemory",
        ),
        "REMOVED" => (
            ErrorKind::EntryRemoved,
            Effect::None,
            false,
            "the entry was removed before it was made: acquire again",
        ),
        "TAKEN" => (
            ErrorKind::Backend,
            Effect::None,
            false,
            "another session has an entry with this id: acquire again",
        ),
        "EXHAUSTED" => (ErrorKind::Backend, Effect::None, false, "this lock has used up its tokens"),
        _ => (ErrorKind::Backend, Effect::Unknown, false, "Redis reported an error"),
    }
}

/// Whether the connection should be made anew: what it is connected to may be dead, or no longer the master.
pub(crate) fn needs_reconnect(source: &RedisError) -> bool {
    use ClientErrorKind as C;
    use ServerErrorKind as S;
    matches!(
        source.kind(),
        C::Io
            | C::Parse
            | C::AuthenticationFailed
            | C::ClusterConnectionNotFound
            | C::Server(S::ReadOnly | S::MasterDown)
    ) || source.code() == Some("NOAUTH")
}

/// Whether the server answered, and will not do this however often it is asked.
pub(crate) fn is_refusal(error: &Error) -> bool {
    let no_permission = || said(error).is_some_and(|said| said.kind() == ServerErrorKind::NoPerm.into());
    !error.is_retryable() && (error.kind() == ErrorKind::Backend || no_permission())
}

/// Whether the key is not that of a lock any more: then none of its entries is there.
pub(crate) fn is_overwritten(error: &Error) -> bool {
    said(error).is_some_and(|said| said.code() == Some("WRONGTYPE"))
}

fn said(error: &Error) -> Option<&RedisError> {
    std::error::Error::source(error)?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use Effect::{None as Nothing, Unknown};
    use ErrorKind::{Backend, EntryRemoved, InvalidConfig, PermissionDenied, Unreachable};

    use super::*;

    fn said(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    fn made(kind: ClientErrorKind) -> RedisError {
        RedisError::from((kind, "made"))
    }

    #[test]
    fn every_row() {
        let timeout = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        let refused = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        for (source, kind, effect, retryable, reconnect) in [
            (timeout, Unreachable, Unknown, true, true),
            (refused, Unreachable, Unknown, true, true),
            (said("READONLY You can't write"), Unreachable, Nothing, true, true),
            (said("MASTERDOWN Link with MASTER is down"), Unreachable, Nothing, true, true),
            (said("LOADING Redis is loading"), Unreachable, Nothing, true, false),
            (said("CLUSTERDOWN Hash slot not served"), Unreachable, Nothing, true, false),
            (said("TRYAGAIN Multiple keys"), Unreachable, Nothing, true, false),
            (said("MOVED 1 127.0.0.1:1"), Unreachable, Nothing, true, false),
            (said("ASK 1 127.0.0.1:1"), Unreachable, Nothing, true, false),
            (said("NOSCRIPT No matching script"), Unreachable, Nothing, true, false),
            (said("BUSY Redis is busy"), Unreachable, Nothing, true, false),
            (said("MISCONF Errors writing"), Unreachable, Nothing, true, false),
            (said("NOREPLICAS Not enough"), Unreachable, Nothing, true, false),
            (made(ClientErrorKind::ClusterConnectionNotFound), Unreachable, Nothing, true, true),
            (made(ClientErrorKind::MasterNameNotFoundBySentinel), Unreachable, Nothing, true, false),
            (made(ClientErrorKind::AuthenticationFailed), PermissionDenied, Nothing, false, true),
            (said("NOAUTH Authentication required"), PermissionDenied, Nothing, false, true),
            (said("WRONGPASS invalid"), PermissionDenied, Nothing, false, false),
            (said("NOPERM this user has no permissions"), PermissionDenied, Nothing, false, false),
            (made(ClientErrorKind::InvalidClientConfig), InvalidConfig, Nothing, false, false),
            (made(ClientErrorKind::EmptySentinelList), InvalidConfig, Nothing, false, false),
            (said("OOM command not allowed"), Backend, Nothing, false, false),
            (said("CROSSSLOT Keys"), Backend, Nothing, false, false),
            (said("REMOVED before"), EntryRemoved, Nothing, false, false),
            (said("TAKEN by another"), Backend, Nothing, false, false),
            (said("EXHAUSTED tokens"), Backend, Nothing, false, false),
            (made(ClientErrorKind::Parse), Backend, Unknown, true, true),
            (said("ERR something else"), Backend, Unknown, false, false),
            (said("WRONGTYPE Operation against a key"), Backend, Nothing, false, false),
            (made(ClientErrorKind::UnexpectedReturnType), Backend, Unknown, false, false),
        ] {
            assert_eq!(needs_reconnect(&source), reconnect, "{source}");
            let text = source.to_string();
            let mapped = error(source, "removal of the lock \"l\" on h:1");
            assert!(mapped.to_string().starts_with("removal of the lock \"l\" on h:1: "), "{mapped}");
            assert_eq!((mapped.kind(), mapped.effect()), (kind, effect), "{text}");
            assert_eq!(mapped.is_retryable(), retryable, "{text}");
            assert_eq!(mapped.source().map(ToString::to_string), Some(text));
        }
    }
}
