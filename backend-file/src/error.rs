//! What the operating system's errors mean.

use std::io;
use std::path::Path;

use lockcore::{Effect, Error, ErrorKind};

/// The error of a call that failed: what was to be done, and where. Calls that fail change nothing.
pub(crate) fn failed(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Backend,
    };
    Error::new(kind, format!("cannot {what} {}", path.display())).with_effect(Effect::None).with_source(error)
}

/// Something that we don't touch, and why.
pub(crate) fn refused(kind: ErrorKind, path: &Path, reason: &str) -> Error {
    Error::new(kind, format!("{} {reason}", path.display())).with_effect(Effect::None)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn every_row() {
        for (errno, kind) in [
            (Errno::ACCESS, ErrorKind::PermissionDenied),
            (Errno::PERM, ErrorKind::PermissionDenied),
            (Errno::ROFS, ErrorKind::PermissionDenied),
            (Errno::NOSPC, ErrorKind::Backend),
            (Errno::DQUOT, ErrorKind::Backend),
            (Errno::MFILE, ErrorKind::Backend),
            (Errno::IO, ErrorKind::Backend),
        ] {
            let error = failed("write", Path::new("/a/b"), errno);
            assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{errno}");
            assert!(!error.is_retryable(), "{errno}");
            assert_eq!(error.to_string(), "cannot write /a/b");
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno.raw_os_error()));
        }
    }
}
