//! What goes on in the background of a session: renewals, and messages.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lockcore::{Effect, EntryId, Error, ErrorKind, Result};
use redis::aio::PubSub;
use tokio::time::{sleep, timeout};

use crate::error::error;
use crate::servers::Servers;
use crate::session::Shared;

/// Renews the session and hears messages for it, until it is lost.
pub(crate) fn start(shared: Arc<Shared>, subscription: Subscription, pubsub: PubSub) {
    tokio::spawn(async move {
        // Whatever comes first ends all three: nothing renews a lost session.
        tokio::select! {
            _ = shared.lease.lost() => {}
            () = renew(&shared) => {}
            () = listen(&shared, &subscription, pubsub) => {}
        }
    });
}

async fn renew(shared: &Shared) {
    let Some(period) = shared.lease.renewal_interval() else { return };
    let mut pause = period;
    loop {
        sleep(pause).await;
        pause = period;
        if let Err(error) = shared.renew_all().await {
            tracing::debug!(%error, "session not renewed");
            shared.lease.doubt();
            pause = period / 4;
        }
    }
}

/// How to hear of the session's turns.
pub(crate) struct Subscription {
    pub(crate) servers: Arc<Servers>,
    pub(crate) channel: String,
    pub(crate) patience: Duration,
}

impl Subscription {
    /// Subscribes anew. The client library neither limits the time of this nor repeats it.
    pub(crate) async fn start(&self) -> Result<PubSub> {
        let subscribe = async {
            let mut pubsub = self.servers.listen().await?;
            pubsub.subscribe(&self.channel).await?;
            Ok(pubsub)
        };
        match timeout(self.patience, subscribe).await {
            Ok(subscribed) => subscribed.map_err(error),
            Err(_) => Err(Error::new(ErrorKind::Unreachable, "Redis does not accept subscriptions")
                .with_effect(Effect::None)),
        }
    }
}

async fn listen(shared: &Shared, subscription: &Subscription, mut pubsub: PubSub) {
    loop {
        // What was said meanwhile was not heard.
        shared.entries.wake_all();
        hear(shared, subscription, pubsub).await;
        pubsub = loop {
            match subscription.start().await {
                Ok(pubsub) => break pubsub,
                Err(error) => {
                    tracing::debug!(%error, "no messages from Redis");
                    sleep(subscription.patience / 10).await;
                }
            }
        };
    }
}

/// Hears until the connection is dead. A dead one may be as silent as one on which nothing is said, so we ask.
async fn hear(shared: &Shared, subscription: &Subscription, pubsub: PubSub) {
    let (mut sink, mut messages) = pubsub.split();
    loop {
        match timeout(subscription.patience, messages.next()).await {
            Ok(Some(message)) => match message.get_payload::<String>() {
                Ok(id) => shared.entries.wake(&EntryId::from(&*id)),
                Err(error) => tracing::debug!(%error, "unreadable message"),
            },
            Ok(None) => return,
            Err(_) => match timeout(subscription.patience, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            },
        }
    }
}
