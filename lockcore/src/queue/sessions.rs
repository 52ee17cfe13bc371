//! The sessions of a service, one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::watch;

use crate::backend::QueueBackend;
use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::backoff::Backoff;
use crate::queue::open::OpenSession;
use crate::session::Loss;

/// The current session of a service, replaced when it is lost.
#[derive(Debug)]
pub(super) struct Sessions {
    backend: Arc<dyn QueueBackend>,
    /// What errors call it.
    place: Arc<str>,
    state: Mutex<State>,
    /// Changes while the state is locked.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    last: Arc<OpenSession>,
    opening: Option<Opening>,
    /// Between attempts to open one that fail, however many need one.
    pauses: Backoff,
}

/// Everybody who needs the next session waits for one attempt to open it.
type Opening = Shared<BoxFuture<'static, Result<Arc<OpenSession>>>>;

impl Sessions {
    /// Opens the first session.
    pub(super) async fn connect(backend: Arc<dyn QueueBackend>) -> Result<Self> {
        let place: Arc<str> = backend.place().into();
        let last = Arc::new(OpenSession::new(backend.open_session().await?, place.clone()));
        let state = Mutex::new(State { last, opening: None, pauses: Backoff::default() });
        Ok(Self { backend, place, state, closed: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last session that was opened, lost or not.
    pub(super) fn last(&self) -> Arc<OpenSession> {
        self.lock().last.clone()
    }

    /// Ends the last session, and opens no other. Its server is left to be told.
    pub(super) fn close(&self) -> Arc<OpenSession> {
        let state = self.lock();
        self.closed.send_replace(true);
        state.last.lease().end(Loss::Closed);
        state.last.clone()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// What errors call the place where the locks live.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What all programs call that place.
    pub(super) fn identity(&self) -> String {
        self.backend.identity()
    }

    /// How long connecting may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.backend.connect_timeout()
    }

    /// The current session, or a new one if that is lost.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<OpenSession>> {
        let opening = {
            let mut state = self.lock();
            if state.last.lease().loss().is_none() {
                return Ok(state.last.clone());
            }
            if *self.closed.borrow() {
                return Err(Error::lost(Loss::Closed));
            }
            // One that is over and still here broke off.
            state.opening.take_if(|opening| opening.peek().is_some());
            state.opening.get_or_insert_with(|| self.open()).clone()
        };
        // In memory of its own: few have to wait for it.
        Box::pin(self.opened_by(opening)).await
    }

    /// What the current session answers, unless it is lost; an error tells what was asked for, of which lock.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(
        self: &Arc<Self>,
        what: &str,
        lock: Option<&LockKey>,
        request: impl FnOnce(Arc<OpenSession>) -> F,
    ) -> Result<T> {
        let answer = async {
            let open = self.current().await?;
            open.unless_lost(request(open.clone())).await
        };
        answer.await.map_err(doing(what, lock, &self.place))
    }

    /// What comes of an opening.
    async fn opened_by(&self, opening: Opening) -> Result<Arc<OpenSession>> {
        let mut closed = self.closed.subscribe();
        // It may run on a runtime that nobody drives any more, and whose clock stands still.
        let longest = 2 * self.connect_timeout() + Backoff::LONGEST;
        tokio::select! {
            biased;
            opened = opening.clone() => opened,
            _ = closed.wait_for(|closed| *closed) => Err(Error::lost(Loss::Closed)),
            () = tokio::time::sleep(longest) => {
                self.lock().opening.take_if(|current| current.ptr_eq(&opening));
                Err(broke_off())
            }
        }
    }

    /// Opens the next session in a task of its own, so that it does not matter who of those who wait for it goes
    /// on waiting.
    fn open(self: &Arc<Self>) -> Opening {
        let sessions = self.clone();
        let opening = tokio::spawn(async move {
            let opened = sessions.backend.open_session().await;
            if opened.as_ref().is_err_and(Error::is_retryable) {
                let pause = sessions.lock().pauses.next();
                tokio::time::sleep(pause).await;
            }
            let place = sessions.place.clone();
            sessions.opened(opened.map(|session| Arc::new(OpenSession::new(session, place))))
        });
        opening
            .map(|opened| opened.unwrap_or_else(|error| Err(broke_off().with_source(error))))
            .boxed()
            .shared()
    }

    fn opened(&self, opened: Result<Arc<OpenSession>>) -> Result<Arc<OpenSession>> {
        let mut state = self.lock();
        state.opening = None;
        let open = opened?;
        state.pauses = Backoff::default();
        if *self.closed.borrow() {
            // Nobody uses the session, so it ends.
            return Err(Error::lost(Loss::Closed));
        }
        state.last = open.clone();
        Ok(open)
    }
}

/// Makes an error tell first what was being done, with which lock and where.
pub(super) fn doing(what: &str, lock: Option<&LockKey>, place: &str) -> impl FnOnce(Error) -> Error {
    move |error| match lock {
        Some(lock) => error.with_context(format_args!("{what} {lock} ({place})")),
        None => error.with_context(format_args!("{what} ({place})")),
    }
}

/// Its runtime ended, or stands still; the next who needs a session opens one himself.
fn broke_off() -> Error {
    let message = "opening a session broke off, because its runtime ended or stands still: try again";
    Error::new(ErrorKind::Backend, message).with_retryable(true)
}
