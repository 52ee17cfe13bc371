//! This program once more, in another role.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::broken_pipe;

/// A process that plays this role. People see it under this name in their lists.
pub(crate) fn again(name: &str, role: &str) -> io::Result<Command> {
    /// Whatever has become of the file since this process was started.
    const PROGRAM: &str = "/proc/self/exe";
    if !Path::new("/proc/self").exists() {
        let message = "there is no /proc, without which no process can be started and found again: mount it";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    let mut command = Command::new(PROGRAM);
    command.arg0(name).arg(role);
    broken_pipe::tell(&mut command);
    Ok(command)
}
