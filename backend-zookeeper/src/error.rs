//! What errors of the client library mean.

use std::fmt;

use lockcore::{Effect, Error, ErrorKind};
use zookeeper_client::Error as ClientError;

type Row = (ErrorKind, Effect, bool, &'static str);

/// The one table of errors: what it means that `what` was done in vain. What is not sure to have changed nothing has an
/// unknown effect.
pub(crate) fn error(source: ClientError, what: fmt::Arguments<'_>) -> Error {
    let (kind, effect, retryable, message) = row(&source);
    Error::new(kind, format!("{what}: {message}"))
        .with_effect(effect)
        .with_retryable(retryable)
        .with_source(source)
}

fn row(source: &ClientError) -> Row {
    use ClientError as E;
    match source {
        // A reset or silent connection is `Custom`, only a closed one is `ConnectionLoss`; what was still to be sent is
        // `UnexpectedError`.
        E::ConnectionLoss | E::Custom(_) | E::UnexpectedError(_) | E::Timeout | E::NoHosts => (
            ErrorKind::Unreachable,
            Effect::Unknown,
            true,
            "the connection to ZooKeeper was lost: see whether it runs and can be reached",
        ),
        E::SessionMoved => {
            (ErrorKind::Unreachable, Effect::Unknown, true, "the session is on another ZooKeeper server now")
        }
        E::Throttled => {
            (ErrorKind::Unreachable, Effect::None, true, "ZooKeeper is overloaded: try again later")
        }
        E::NotReadOnly => (
            ErrorKind::Unreachable,
            Effect::None,
            true,
            "this ZooKeeper server has no quorum: see whether a majority of the servers runs",
        ),
        // Ends of a session that the library found out about; a request under way may have been executed.
        E::SessionExpired | E::ClientClosed => {
            (ErrorKind::SessionLost, Effect::Unknown, true, "the ZooKeeper session is over: acquire again")
        }
        E::AuthFailed => (
            ErrorKind::PermissionDenied,
            Effect::Unknown,
            false,
            "ZooKeeper refuses these credentials: correct auth= or user and password in the URL",
        ),
        E::NoAuth | E::InvalidAcl => (
            ErrorKind::PermissionDenied,
            Effect::None,
            false,
            "ZooKeeper does not permit this: the ACL of the nodes has to grant all to the user of the URL, see acl= and auth=",
        ),
        E::NoNode
        | E::NodeExists
        | E::NotEmpty
        | E::BadVersion
        | E::NoChildrenForEphemerals
        | E::NoWatcher
        | E::BadArguments(_)
        | E::QuotaExceeded
        | E::MarshallingError
        | E::Unimplemented
        | E::ReconfigDisabled => (
            ErrorKind::Backend,
            Effect::None,
            false,
            "ZooKeeper refused the request, for the reason that follows",
        ),
        // An answer that cannot be read ends the connection, and every request on it fails like this.
        E::UnmarshalError { .. } => (
            ErrorKind::Backend,
            Effect::Unknown,
            true,
            "the answer of ZooKeeper makes no sense: is this a ZooKeeper server?",
        ),
        _ => (ErrorKind::Backend, Effect::Unknown, false, "ZooKeeper reported an error"),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use ClientError as E;
    use Effect::{None as Nothing, Unknown};
    use ErrorKind::{Backend, PermissionDenied, SessionLost, Unreachable};

    #[test]
    fn every_row() {
        let unreadable = E::UnmarshalError { entity: "stat", reason: &"too short" };
        for (source, kind, effect, retryable) in [
            (E::ConnectionLoss, Unreachable, Unknown, true),
            (E::Timeout, Unreachable, Unknown, true),
            (E::NoHosts, Unreachable, Unknown, true),
            (E::SessionMoved, Unreachable, Unknown, true),
            (E::Throttled, Unreachable, Nothing, true),
            (E::NotReadOnly, Unreachable, Nothing, true),
            (E::SessionExpired, SessionLost, Unknown, true),
            (E::ClientClosed, SessionLost, Unknown, true),
            (E::AuthFailed, PermissionDenied, Unknown, false),
            (E::NoAuth, PermissionDenied, Nothing, false),
            (E::InvalidAcl, PermissionDenied, Nothing, false),
            (E::NoNode, Backend, Nothing, false),
            (E::NodeExists, Backend, Nothing, false),
            (E::NotEmpty, Backend, Nothing, false),
            (E::BadVersion, Backend, Nothing, false),
            (E::NoChildrenForEphemerals, Backend, Nothing, false),
            (E::NoWatcher, Backend, Nothing, false),
            (E::BadArguments(&"path"), Backend, Nothing, false),
            (E::QuotaExceeded, Backend, Nothing, false),
            (E::MarshallingError, Backend, Nothing, false),
            (E::Unimplemented, Backend, Nothing, false),
            (E::ReconfigDisabled, Backend, Nothing, false),
            (E::UnexpectedError("BUG".to_owned()), Unreachable, Unknown, true),
            (unreadable, Backend, Unknown, true),
            (E::RuntimeInconsistent, Backend, Unknown, false),
            (E::UnexpectedErrorCode(-4), Backend, Unknown, false),
        ] {
            let mapped = error(source.clone(), format_args!("list /a on h:1"));
            assert_eq!((mapped.kind(), mapped.effect()), (kind, effect), "{source}");
            assert_eq!(mapped.is_retryable(), retryable, "{source}");
            assert!(mapped.to_string().starts_with("list /a on h:1: "), "{mapped}");
            assert_eq!(mapped.source().and_then(|kept| kept.downcast_ref()), Some(&source));
        }
    }
}
