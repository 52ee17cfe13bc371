//! What becomes of the sessions of a service, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::session::Loss;

/// How many events are kept for a subscriber that is slow.
const KEPT: usize = 64;

/// Something that became of the session of a service. Displayed, it is one line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The first session is open.
    Connected,
    /// The server does not answer. Everything is still held, at least until then.
    Doubtful {
        /// When the session will count as lost if nothing is heard; `None` where it has no such limit.
        until: Option<Instant>,
    },
    /// The server answers again, and nothing was lost.
    Recovered {
        /// How long it had been in doubt.
        after: Duration,
    },
    /// The session is over, and with it everything that was held.
    Lost {
        /// Why.
        loss: Loss,
        /// How many locks it held.
        held: usize,
    },
    /// After a loss another session is open. What was held is not held again by that.
    Reopened {
        /// How long there was none.
        after: Duration,
    },
    /// This subscriber was slow, and so many events before the next one are not told any more.
    Missed(u64),
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionEvent::Connected => f.write_str("connected"),
            SessionEvent::Doubtful { .. } => f.write_str("in doubt: the server does not answer"),
            SessionEvent::Recovered { after } => write!(f, "the server answers again, after {after:.1?}"),
            SessionEvent::Lost { loss, held: 0 } => write!(f, "lost: {loss}"),
            SessionEvent::Lost { loss, held: 1 } => write!(f, "lost, with one lock held: {loss}"),
            SessionEvent::Lost { loss, held } => write!(f, "lost, with {held} locks held: {loss}"),
            SessionEvent::Reopened { after } => write!(f, "a new session after {after:.1?} without one"),
            SessionEvent::Missed(events) => write!(f, "{events} events were missed"),
        }
    }
}

/// The [events](SessionEvent) of a service, from the subscription on: a stream that ends when the service is closed or gone.
///
/// Whoever wants to know where it stands first subscribes and then asks for the [state](crate::LockService::session).
pub struct SessionEvents {
    events: BoxStream<'static, SessionEvent>,
}

impl SessionEvents {
    /// The next event; `None` when the service is closed or gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::SessionEvent;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let mut events = locks.events();
    /// let told = tokio::spawn(async move {
    ///     while let Some(event) = events.next().await {
    ///         println!("{event}");
    ///     }
    /// });
    /// locks.close().await?;
    /// # told.await.unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again: no event is lost by that.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        self.events.next().await
    }
}

impl Stream for SessionEvents {
    type Item = SessionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionEvent>> {
        self.events.poll_next_unpin(cx)
    }
}

impl fmt::Debug for SessionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionEvents").finish_non_exhaustive()
    }
}

/// Where events are told, to any number of subscribers.
#[derive(Debug)]
pub(crate) struct EventSender(broadcast::Sender<SessionEvent>);

impl Default for EventSender {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl EventSender {
    pub(crate) fn send(&self, event: SessionEvent) {
        // Without subscribers there is nobody to tell.
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> SessionEvents {
        let events = stream::unfold(Some(self.0.subscribe()), |subscription| async move {
            let mut subscription = subscription?;
            let event = match subscription.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(events)) => SessionEvent::Missed(events),
                Err(RecvError::Closed) => return None,
            };
            let last = matches!(event, SessionEvent::Lost { loss: Loss::Closed, .. });
            Some((event, (!last).then_some(subscription)))
        });
        SessionEvents { events: events.boxed() }
    }
}
