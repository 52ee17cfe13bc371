//! One trial, and how it is run.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::context::Context;
use crate::failure::{Failure, Verdict};
use crate::fixture::Fixture;

/// What a trial needs of the fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but clients.
    Clients,
    /// A network that can be broken.
    Network,
    /// An operator who removes entries.
    Operator,
    /// Other processes.
    Processes,
    /// Other processes, of which the server does not hear for longer than it keeps a session.
    Expiry,
    /// Servers of the trial's own, which it kills and starts again.
    Servers,
}

impl Needs {
    /// Why the trial cannot run on this fixture, if it cannot.
    fn unmet(self, fixture: &dyn Fixture) -> Option<&'static str> {
        match self {
            Needs::Network if !fixture.has_network() => Some("the fixture cannot break the network"),
            Needs::Operator if fixture.operator().is_none() => {
                Some("the fixture cannot remove entries by hand")
            }
            Needs::Processes if fixture.holder().is_none() => Some("no other process can reach the service"),
            Needs::Expiry if fixture.holder().is_none() => Some("no other process can reach the service"),
            Needs::Expiry if !fixture.sessions_expire() => Some("a session lasts as long as its process"),
            Needs::Servers if fixture.servers().is_none() => Some("no server can be started"),
            Needs::Clients
            | Needs::Network
            | Needs::Operator
            | Needs::Processes
            | Needs::Expiry
            | Needs::Servers => None,
        }
    }
}

/// One trial of the suite.
#[derive(Clone, Copy)]
pub struct Trial {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: fn(Context) -> LocalBoxFuture<'static, Verdict>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// How a trial ended.
#[derive(Debug)]
pub enum Outcome {
    /// The service does what it should.
    Passed,
    /// It does not.
    Failed(Failure),
    /// The fixture cannot do what the trial needs.
    Ignored(&'static str),
}

impl Trial {
    /// Its name: `group/name`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Why it cannot run on this fixture, if it cannot.
    pub fn ignored(&self, fixture: &dyn Fixture) -> Option<&'static str> {
        self.needs.unmet(fixture)
    }

    /// Runs it, on a runtime of its own; blocks meanwhile.
    pub fn run(&self, fixture: &Arc<dyn Fixture>) -> Outcome {
        if let Some(reason) = self.ignored(&**fixture) {
            return Outcome::Ignored(reason);
        }
        let runtime = match fixture.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Outcome::Failed(error.into()),
        };
        let context = Context::new(fixture.clone(), self.name);
        // Waits inside a trial are limited; this is for those that a broken driver lets hang for ever.
        let limit = 10 * context.patience();
        let run = std::panic::AssertUnwindSafe((self.run)(context)).catch_unwind();
        let verdict = runtime.block_on(async { tokio::time::timeout(limit, run).await });
        // A broken driver may leave a blocked thread behind.
        runtime.shutdown_background();
        match verdict {
            Ok(Ok(Ok(()))) => Outcome::Passed,
            Ok(Ok(Err(failure))) => Outcome::Failed(failure),
            Ok(Err(panic)) => Outcome::Failed(Failure::new(panic_message(&*panic))),
            Err(_) => Outcome::Failed(Failure::new("the trial hangs")),
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}
