//! Other processes that hold locks: the running program, started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

use lockcore::{Config, DistributedLockExt, FencingToken, Loss, Registry};

use crate::context::Failure;

/// Starts processes that hold a lock.
#[derive(Debug, Clone)]
pub struct Holder {
    url: String,
}

/// Tells the started program that it is a holder; its value is the name of the lock.
const NAME: &str = "FAIRLOCK_CONFORMANCE_HOLD";

impl Holder {
    /// Holders of locks that live at this URL. The program must call [`serve_as_holder`] first of all, or run the
    /// suite with [`main`](crate::main).
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Starts a process that holds the exclusive lock of this name until it is killed.
    pub(crate) fn start(&self, name: &str) -> Result<HolderProcess, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.env(NAME, name).env(Config::ENV, &self.url).stdout(Stdio::piped()).spawn()?;
        let mut process = HolderProcess { child, token: FencingToken::new(0) };
        let stdout = process.child.stdout.take().ok_or_else(|| Failure::new("the holder has no output"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let token = line.trim().parse().map_err(|_| Failure::new(format!("the holder said {line:?}")))?;
        process.token = FencingToken::new(token);
        Ok(process)
    }
}

/// In a process that was started to hold a lock: holds it until it is lost. In any other: `None`, at once.
pub fn serve_as_holder(registry: &Registry) -> Option<ExitCode> {
    let name = std::env::var(NAME).ok()?;
    Some(match hold(registry, &name) {
        Ok(loss) => {
            eprintln!("the lock was lost: {loss}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("the lock was not had: {failure}");
            ExitCode::FAILURE
        }
    })
}

fn hold(registry: &Registry, name: &str) -> Result<Loss, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let locks = registry.connect(&Config::from_env()?).await?;
        let guard = locks.exclusive(name)?.acquire().await?;
        println!("{}", guard.fencing_token());
        Ok(guard.lost().await)
    })
}

/// A process that holds a lock; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct HolderProcess {
    child: Child,
    pub(crate) token: FencingToken,
}

impl HolderProcess {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for HolderProcess {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}
