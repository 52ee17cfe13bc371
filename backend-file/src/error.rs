//! What the operating system's errors mean.

use std::io;
use std::path::Path;

use lockcore::{Effect, Error, ErrorKind};
use rustix::io::Errno;

/// The error of a call that failed: what was to be done, and where. Calls that fail change nothing.
pub(crate) fn failed(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
    let error = error.into();
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Backend,
    };
    let (transient, hint) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => (true, OWN_LIMIT),
        Some(Errno::NFILE) => (true, SYSTEM_LIMIT),
        Some(Errno::AGAIN | Errno::INTR | Errno::NOMEM) => (true, ""),
        _ => (false, ""),
    };
    let message = format!("cannot {what} {}{hint}", path.display());
    Error::new(kind, message).with_effect(Effect::None).with_retryable(transient).with_source(error)
}

/// A process of many locks soon has as many files as a shell allows by default, which is 1024.
const OWN_LIMIT: &str = " (each lock that is held or waited for takes an open file: allow this process more, with \
                         `ulimit -n` or LimitNOFILE=)";
const SYSTEM_LIMIT: &str = " (the whole system has too many open files: raise fs.file-max)";

/// Something that we don't touch, and why.
pub(crate) fn refused(kind: ErrorKind, path: &Path, reason: &str) -> Error {
    Error::new(kind, format!("{} {reason}", path.display())).with_effect(Effect::None)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn every_row() {
        for (errno, kind, retryable, hint) in [
            (Errno::ACCESS, ErrorKind::PermissionDenied, false, ""),
            (Errno::PERM, ErrorKind::PermissionDenied, false, ""),
            (Errno::ROFS, ErrorKind::PermissionDenied, false, ""),
            (Errno::NOSPC, ErrorKind::Backend, false, ""),
            (Errno::DQUOT, ErrorKind::Backend, false, ""),
            (Errno::IO, ErrorKind::Backend, false, ""),
            (Errno::MFILE, ErrorKind::Backend, true, OWN_LIMIT),
            (Errno::NFILE, ErrorKind::Backend, true, SYSTEM_LIMIT),
            (Errno::AGAIN, ErrorKind::Backend, true, ""),
            (Errno::INTR, ErrorKind::Backend, true, ""),
            (Errno::NOMEM, ErrorKind::Backend, true, ""),
        ] {
            let error = failed("write", Path::new("/a/b"), errno);
            assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{errno}");
            assert_eq!(error.is_retryable(), retryable, "{errno}");
            assert_eq!(error.to_string(), format!("cannot write /a/b{hint}"));
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno.raw_os_error()));
        }
    }
}
