//! The programs of PostgreSQL, and the user as whom they run: not root, whom they refuse.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::control::{START, check_installed, directory};

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// As whom the server runs if we are root; its superuser has the same name.
pub(super) const USER: &str = "postgres";

/// How to start a program as the user of the servers. What it becomes dies with us, too.
pub(super) fn as_server(program: &str, arguments: Vec<String>) -> (&'static str, Vec<String>) {
    let before = ["--pdeathsig", "KILL", program];
    let as_user = ["--reuid", USER, "--regid", USER, "--clear-groups", "setpriv"];
    let parts = as_user.iter().filter(|_| is_root()).chain(&before);
    let mut whole: Vec<String> = parts.map(|part| (*part).to_owned()).collect();
    whole.extend(arguments);
    ("setpriv", whole)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program of the newest version that is installed, or the one on the path.
pub(super) fn program(name: &str) -> io::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok()).max();
    let path = match newest {
        Some(version) => PathBuf::from(format!("{VERSIONS}/{version}/bin/{name}")),
        None => PathBuf::from(name),
    };
    check_installed("PostgreSQL", &[text(&path)?])?;
    Ok(path)
}

pub(super) fn new_directory() -> io::Result<TempDir> {
    let directory = directory("postgres")?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
    if is_root() {
        // Whoever makes the data there is not root.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    }
    Ok(directory)
}

/// Gives all of a directory to the user of the servers.
pub(super) async fn give_away(directory: &Path) -> io::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut command = Command::new("chown");
    command.args(["-R", USER, text(directory)?]);
    output(command).await.map(drop)
}

/// Runs a program as the user of the servers.
pub(super) async fn run(program: PathBuf, arguments: &[&str]) -> io::Result<String> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let (program, arguments) = as_server(text(&program)?, arguments);
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    timeout(START, output(command)).await?
}

/// What a program says, if it succeeds.
pub(super) async fn output(mut command: Command) -> io::Result<String> {
    let output =
        timeout(START.max(ANSWER), command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).trim_end().to_owned());
    match output.status.success() {
        true => Ok(said[0].clone()),
        false => Err(io::Error::other(said.concat())),
    }
}

pub(super) fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("a path that is not UTF-8"))
}
