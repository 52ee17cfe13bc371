//! The holder: a process in the background that holds a lock for a shell.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use fairlock::{DistributedLock, EntryId, LockGuard, LockService, Released};
use rustix::process::{Pid, Signal, setsid};
use rustix::stdio::dup2_stderr;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use crate::arguments::{Arguments, Command, LockOptions};
use crate::contact::Contact;
use crate::environment::{self, Outer, refuse_nested};
use crate::exit::{Failure, OTHER};
use crate::link::{Link, shared};
use crate::open_file::Claimed;
use crate::progress::waiting;
use crate::service::{check_shared, close, connect, place};
use crate::shell::Watched;
use crate::signals::Signals;

/// Tells this program, as its first argument, to be a holder. The command line of `fairlock lock` follows.
pub(crate) const HOLDER: &str = "__holder";

/// What the holder is told, besides the open file for which it holds the lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The process with which the lock ends.
    pub(crate) shell: Option<i32>,
}

/// What the holder answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It has the lock, and the shell gets these variables.
    Held(Vec<(String, String)>),
    Failed {
        code: u8,
        message: String,
    },
}

/// What the holder answers whoever unlocks: whether it was held until then, and if not why.
pub(crate) type Unlocked = Result<(), String>;

/// Where this process was started as a holder: how it ended.
pub(crate) fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    arguments.nth(1).filter(|first| first == HOLDER)?;
    let parsed = Arguments::try_parse_from(std::iter::once("fairlock".into()).chain(arguments)).ok()?;
    let Command::Lock(options) = &parsed.command else { return None };
    let ended = parsed.url().and_then(|url| {
        crate::log_to_stderr(tracing_subscriber::filter::LevelFilter::WARN);
        // The keys of the terminal are for the shell.
        setsid().map_err(io::Error::from)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(hold(url.as_deref(), options));
        // Nobody waits for an open file any more.
        runtime.shutdown_background();
        ended
    });
    Some(ended.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS))
}

async fn hold(url: Option<&str>, options: &LockOptions) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let file = shared(&socket)?.into_iter().next();
    let mut link = Link::new(socket)?;
    let Some(Request { shell }) = link.next().await else { return Ok(()) };
    let service = match connect(url).await {
        Ok(service) => service,
        Err(failure) => {
            failed(&link, &failure);
            return Ok(());
        }
    };
    let held = tokio::select! {
        held = take(url, &*service, options, shell, file) => held.map(Some),
        // Whoever started this has given up.
        None = link.next::<()>() => Ok(None),
        _ = signals.ending() => Ok(None),
    };
    match held {
        Err(failure) => failed(&link, &failure),
        Ok(None) => {}
        Ok(Some(Held { guard, until, contact, variables })) => {
            link.send(&Answer::Held(variables));
            // Without this the shell has not been told.
            if link.next::<()>().await.is_some() {
                keep(guard, until, contact, &mut signals).await?;
            }
        }
    }
    close(&*service).await;
    Ok(())
}

fn failed(link: &Link, failure: &Failure) {
    link.send(&Answer::Failed { code: failure.code(), message: failure.to_string() });
}

/// A lock that is held, until when, how the holder is called, and what the shell is told.
struct Held {
    guard: LockGuard,
    until: Until,
    contact: Contact,
    variables: Vec<(String, String)>,
}

async fn take(
    url: Option<&str>,
    service: &dyn LockService,
    options: &LockOptions,
    shell: Option<i32>,
    file: Option<OwnedFd>,
) -> Result<Held, Failure> {
    check_shared(service)?;
    let lock = options.wanted.lock(service)?;
    let Some(guard) = acquire(&lock, options).await? else { return Err(options.wanted.not_in_time()) };
    let until = Until::new(shell, file, options.limit).await?;
    let name = format!("fairlock-holder-{}", EntryId::random());
    let contact = Contact::new(&name)?;
    let outer = Outer::new(&*lock, guard.fencing_token()).held_by(name, options.fd);
    let variables = environment::variables(&place(url)?, &*lock, guard.id().as_str(), vec![outer])?;
    Ok(Held { guard, until, contact, variables })
}

async fn acquire(
    lock: &Arc<dyn DistributedLock>,
    options: &LockOptions,
) -> Result<Option<LockGuard>, Failure> {
    let locks = std::slice::from_ref(lock);
    if options.wanted.may_wait_for_itself() {
        refuse_nested(locks).await?;
    }
    Ok(waiting(&options.wanted, locks, lock.acquire_with(&options.wanted.acquire())).await?)
}

/// Until when a lock is held.
struct Until {
    shell: Option<Watched>,
    file: Option<Claimed>,
    limit: Option<Duration>,
}

impl Until {
    async fn new(
        shell: Option<i32>,
        file: Option<OwnedFd>,
        limit: Option<Duration>,
    ) -> Result<Self, Failure> {
        let ended = || Failure::new(OTHER, "the process is not there with which the lock was to end");
        let shell = match shell {
            Some(pid) => Some(Pid::from_raw(pid).map_or(Ok(None), Watched::new)?.ok_or_else(ended)?),
            None => None,
        };
        let file = match file {
            Some(file) => Some(Claimed::new(file).await?),
            None => None,
        };
        Ok(Self { shell, file, limit })
    }

    /// Returns when it is over.
    async fn over(&mut self) {
        tokio::select! {
            _ = or_never(self.shell.as_ref().map(Watched::ended)) => {}
            _ = or_never(self.file.take().map(Claimed::closed)) => {}
            () = or_never(self.limit.map(tokio::time::sleep)) => {}
        }
    }
}

async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Keeps the lock until it is not wanted any more, or lost.
async fn keep(
    guard: LockGuard,
    mut until: Until,
    contact: Contact,
    signals: &mut Signals,
) -> Result<(), Failure> {
    // Whoever reads what the shell prints must not wait for this process.
    dup2_stderr(OpenOptions::new().write(true).open("/dev/null")?).map_err(io::Error::from)?;
    let caller = tokio::select! {
        () = until.over() => None,
        caller = unlocker(&contact) => Some(caller?),
        _ = signals.ending() => None,
        _ = guard.lost() => None,
    };
    let unlocked: Unlocked = match guard.release().await {
        Ok(Released::Held) => Ok(()),
        Ok(Released::Lost(loss)) => Err(loss.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match caller {
        Some(caller) => caller.send(&unlocked),
        // The shell must not go on as if it had the lock. One that somebody types into takes no notice.
        None if unlocked.is_err() => until.shell.iter().for_each(|shell| shell.signal(Signal::TERM)),
        None => {}
    }
    Ok(())
}

/// The next who wants the lock to be given back. Others only want to know whether it is held.
async fn unlocker(contact: &Contact) -> io::Result<Link> {
    loop {
        let mut caller = contact.next().await?;
        if caller.next::<()>().await.is_some() {
            return Ok(caller);
        }
    }
}
