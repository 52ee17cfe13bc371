//! How a command ends: its exit code, and what it says about it.

use std::error::Error;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use fairlock::ErrorKind;
use rustix::io::Errno;
use rustix::process::Signal;

use crate::output;

/// A promise was broken.
pub(crate) const VIOLATED: u8 = 1;
/// The command line is wrong. This and the following are those of `sysexits.h` where that has a fitting one.
pub(crate) const USAGE: u8 = 64;
/// The service cannot be reached.
pub(crate) const UNREACHABLE: u8 = 69;
/// Something else went wrong.
pub(crate) const OTHER: u8 = 70;
/// The lock was not had in time.
pub(crate) const NOT_IN_TIME: u8 = 75;
/// The lock, or the place in its queue, was lost.
pub(crate) const LOST: u8 = 76;
/// The server refuses.
pub(crate) const PERMISSION: u8 = 77;
/// The URL or the configuration is wrong.
pub(crate) const CONFIG: u8 = 78;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    transient: bool,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), transient: false }
    }

    /// Whether it is for want of something of the system that others may give back: open files, processes, memory.
    pub(crate) fn is_transient(&self) -> bool {
        self.transient
    }

    /// With what was being done in front.
    pub(crate) fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        output::diagnostic(&self.message);
        ExitCode::from(self.code)
    }
}

impl From<fairlock::Error> for Failure {
    fn from(error: fairlock::Error) -> Self {
        // What a server says that can be repeated is not of this system.
        let transient = error.is_retryable() && error.kind() == ErrorKind::Backend;
        Self { transient, ..Self::new(code(error.kind()), chain(&error)) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let transient = matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM));
        Self { transient, ..Self::new(OTHER, chain(&error)) }
    }
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::LimitMismatch => USAGE,
        ErrorKind::InvalidConfig => CONFIG,
        ErrorKind::Unreachable => UNREACHABLE,
        ErrorKind::PermissionDenied => PERMISSION,
        ErrorKind::SessionLost | ErrorKind::EntryRemoved => LOST,
        _ => OTHER,
    }
}

/// The error and its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"))
}

/// The end of a command line that was not understood, or that asked for help.
pub(crate) fn usage(error: &clap::Error) -> Result<ExitCode, Failure> {
    error.print()?;
    Ok(if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS })
}

/// The exit code of a child, as a shell has it.
pub(crate) fn of_child(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OTHER))
}

/// The exit code of a process that a signal ended, as a shell has it.
pub(crate) fn by_signal(signal: Signal) -> ExitCode {
    of_child(ExitStatus::from_raw(signal.as_raw()))
}

#[cfg(test)]
mod tests {
    use fairlock::{Error, ErrorKind};

    use super::Failure;

    #[test]
    fn kinds_of_errors_have_their_codes() {
        let codes = [
            (ErrorKind::InvalidInput, 64),
            (ErrorKind::LimitMismatch, 64),
            (ErrorKind::Unreachable, 69),
            (ErrorKind::Closed, 70),
            (ErrorKind::Backend, 70),
            (ErrorKind::SessionLost, 76),
            (ErrorKind::EntryRemoved, 76),
            (ErrorKind::PermissionDenied, 77),
            (ErrorKind::InvalidConfig, 78),
        ];
        for (kind, code) in codes {
            assert_eq!(Failure::from(Error::new(kind, "x")).code, code, "{kind:?}");
        }
    }

    #[test]
    fn the_message_names_all_causes() {
        let cause = Error::new(ErrorKind::Backend, "connection refused").with_source("port 1");
        let error = Error::new(ErrorKind::Unreachable, "no server").with_source(cause);
        assert_eq!(Failure::from(error).message, "no server: connection refused: port 1");
    }
}
