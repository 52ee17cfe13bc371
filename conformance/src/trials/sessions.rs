//! A service tells what becomes of its session, and opens the next one by itself.

use lockcore::{SessionEvent, SessionEvents, SessionState};

use super::prelude::*;

trials!("sessions", Clients: [
    a_closed_service_says_so_and_ends_its_events,
], Network: [
    an_interruption_is_told_and_costs_nothing,
    a_lost_session_is_followed_by_another_without_anybody_asking,
]);

async fn next(context: &Context, events: &mut SessionEvents) -> Result<SessionEvent, Failure> {
    let event = tokio::time::timeout(context.patience(), events.next()).await?;
    event.ok_or_else(|| Failure::new("the events ended although the service is there"))
}

async fn a_closed_service_says_so_and_ends_its_events(context: Context) -> Verdict {
    let alice = context.client().await?;
    check!(alice.locks.session() == SessionState::Live, "connected, and {}", alice.locks.session());
    let mut events = alice.locks.events();
    alice.locks.close().await?;
    let event = next(&context, &mut events).await?;
    check!(matches!(event, SessionEvent::Lost { loss: Loss::Closed, .. }), "closed, and it says: {event}");
    let end = tokio::time::timeout(context.patience(), events.next()).await?;
    check!(end.is_none(), "after the end it says: {end:?}");
    Ok(())
}

async fn an_interruption_is_told_and_costs_nothing(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    let mut events = alice.locks.events();
    alice.network()?.cut();
    let event = next(&context, &mut events).await?;
    let SessionEvent::Doubtful { until } = event else {
        return Err(Failure::new(format!("cut off, and it says: {event}")));
    };
    check!(until.is_some(), "in doubt, and it does not say until when");
    alice.network()?.heal();
    // A connection that was being made when the network was mended may break once more.
    loop {
        match next(&context, &mut events).await? {
            SessionEvent::Recovered { .. } if alice.locks.session() == SessionState::Live => break,
            SessionEvent::Recovered { .. } | SessionEvent::Doubtful { .. } => {}
            event => return Err(Failure::new(format!("mended in time, and it says: {event}"))),
        }
    }
    context.until("the server confirms the hold", async || guard.verify().await.map(|()| true)).await?;
    check!(guard.is_valid(), "lost, although it was mended in time");
    Ok(())
}

async fn a_lost_session_is_followed_by_another_without_anybody_asking(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    let mut events = alice.locks.events();
    alice.network()?.cut();
    let held = loop {
        match next(&context, &mut events).await? {
            SessionEvent::Lost { held, .. } => break held,
            SessionEvent::Doubtful { .. } => {}
            event => return Err(Failure::new(format!("cut off, and it says: {event}"))),
        }
    };
    check!(held == 1, "one lock was held, it says {held}");
    check!(!guard.is_valid(), "the loss of the session is told before that of the guard");
    check!(matches!(alice.locks.session(), SessionState::Lost(_)), "lost, and {}", alice.locks.session());
    alice.network()?.heal();
    let event = next(&context, &mut events).await?;
    check!(matches!(event, SessionEvent::Reopened { .. }), "mended, and it says: {event}");
    context.until("a probe sees it", async || Ok(alice.locks.session() == SessionState::Live)).await?;
    check!(!guard.is_valid(), "the new session revived a lost guard");
    Ok(())
}
