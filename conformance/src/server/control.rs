//! What the servers of all kinds have in common: an address, and a process that can be killed and stopped.

use std::env;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::free_ports;
use super::process::Process;

/// How long servers may take to start, to find one another, or to elect a leader.
pub(super) const START: Duration = Duration::from_secs(60);
/// How long to wait between two looks at a server.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// How often to try other ports when somebody took ours before the server did.
const ATTEMPTS: usize = 4;

/// A server. Dropping one that we started kills it and removes its data.
#[derive(Debug)]
pub struct Server {
    address: String,
    own: Option<Own>,
}

/// A server that we start ourselves. The process goes before its directory does.
#[derive(Debug)]
struct Own {
    process: Mutex<Option<Process>>,
    program: &'static str,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Server {
    /// One that is to be started like this, with this directory, and serves at this address then.
    pub(super) fn own(
        address: String,
        program: &'static str,
        arguments: Vec<String>,
        directory: TempDir,
    ) -> Self {
        Self { address, own: Some(Own { process: Mutex::default(), program, arguments, directory }) }
    }

    /// The one at the `host:port` in this environment variable, if it is set.
    pub(super) fn given(variable: &str) -> Option<Self> {
        let address = env::var(variable).ok().filter(|address| !address.is_empty())?;
        Some(Self { address, own: None })
    }

    /// Where clients connect to: `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills the server with SIGKILL. What it has on disk stays.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours.
    pub fn kill(&self) -> io::Result<()> {
        drop(self.process()?.take());
        Ok(())
    }

    /// Stops the server with SIGSTOP: its connections stay open, and it answers nothing.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; an error if it does not run.
    pub fn pause(&self) -> io::Result<()> {
        self.process()?.as_mut().ok_or_else(not_running)?.pause()
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; an error if it does not run.
    pub fn resume(&self) -> io::Result<()> {
        self.process()?.as_mut().ok_or_else(not_running)?.resume()
    }

    /// What it was started with, if it is ours.
    pub(super) fn arguments(&self) -> &[String] {
        self.own.as_ref().map_or(&[], |own| &own.arguments)
    }

    /// Starts it, after it was killed if it still runs.
    pub(super) fn spawn(&self) -> io::Result<()> {
        self.kill()?;
        let Own { program, arguments, directory, .. } = self.ours()?;
        let process = Process::spawn(program, arguments, &directory.path().join("log"))?;
        *self.process()? = Some(process);
        Ok(())
    }

    /// Waits until the condition is true, as long as the server runs.
    #[expect(clippy::future_not_send, reason = "it is, if the condition's future is")]
    pub(super) async fn wait_until(&self, what: &str, condition: impl AsyncFn() -> bool) -> io::Result<()> {
        let wait = async {
            loop {
                self.process()?.as_mut().ok_or_else(not_running)?.check()?;
                if condition().await {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        };
        match timeout(START, wait).await {
            Ok(result) => result,
            Err(_) => {
                let what = format!("{} does not {what} within {START:?}", self.address);
                Err(self.process()?.as_ref().map_or_else(not_running, |process| process.failure(&what)))
            }
        }
    }

    fn ours(&self) -> io::Result<&Own> {
        self.own.as_ref().ok_or_else(|| {
            let message = format!("the server at {} is given, not ours to stop", self.address);
            io::Error::new(io::ErrorKind::Unsupported, message)
        })
    }

    fn process(&self) -> io::Result<MutexGuard<'_, Option<Process>>> {
        Ok(self.ours()?.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn not_running() -> io::Error {
    io::Error::other("the server does not run")
}

/// A directory for a server of this kind.
pub(super) fn directory(kind: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("fairlock-{kind}-")).tempdir()
}

/// Fails unless these programs are on the path (or there, if they are absolute).
pub(super) fn check_installed(kind: &str, files: &[&str]) -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |file: &&str| {
        let absolute = Path::new(file).is_absolute();
        (absolute && Path::new(file).is_file())
            || env::split_paths(&path).any(|directory| directory.join(file).is_file())
    };
    if files.iter().all(is_there) && is_there(&"setpriv") {
        return Ok(());
    }
    let message = format!("{kind} is not installed: run scripts/install-servers");
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Starts something on ports on which nobody listens, or on others if somebody takes them first.
pub(super) async fn on_free_ports<T>(
    count: usize,
    start: impl AsyncFn(Vec<u16>) -> io::Result<T>,
) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match start(free_ports(count)?).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}
