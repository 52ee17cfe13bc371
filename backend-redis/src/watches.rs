//! The messages that wake waiters: a subscription to the channel of the session.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select_ok;
use lockcore::{Effect, Result};
use redis::aio::PubSub;
use redis::cmd;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::error::error;
use crate::queue::Shared;
use crate::seen::Seen;
use crate::servers::Servers;

/// How to subscribe to the channel of a session.
pub(crate) struct Subscription {
    pub(crate) servers: Arc<Servers>,
    pub(crate) channel: String,
    pub(crate) patience: Duration,
}

impl Subscription {
    /// Subscribes anew, and makes sure that what is published over this connection arrives. The client library neither limits the time of this nor
    /// repeats it.
    pub(crate) async fn start(&self, connection: &Connection) -> Result<PubSub> {
        match timeout(self.patience, self.subscribe(connection)).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(self.servers.silent(SUBSCRIPTION).with_effect(Effect::None)),
        }
    }

    async fn subscribe(&self, connection: &Connection) -> Result<PubSub> {
        let failed = |source| error(source, &self.servers.context(SUBSCRIPTION)).with_effect(Effect::None);
        let members = match self.servers.are_cluster() {
            true => connection.ask_any(SUBSCRIPTION, cmd("CLUSTER").arg("NODES").clone()).await?,
            false => String::new(),
        };
        let candidates = self.servers.listeners(&members).await?;
        let attempts = candidates.into_iter().map(|candidate| {
            Box::pin(async move {
                let mut pubsub = candidate.get_async_pubsub().await.map_err(failed)?;
                pubsub.subscribe(&self.channel).await.map_err(failed)?;
                self.ping(connection).await?;
                let arrived = pubsub.on_message().next().await;
                arrived
                    .map(|_| pubsub)
                    .ok_or_else(|| self.servers.silent(SUBSCRIPTION).with_effect(Effect::None))
            })
        });
        select_ok(attempts).await.map(|(pubsub, _)| pubsub)
    }

    /// Publishes an empty message: a subscription on which it arrives works. A connection that answers is not enough: it may be one to a
    /// node that has left its cluster.
    async fn ping(&self, connection: &Connection) -> Result<()> {
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.channel).arg("");
        connection.ask_any::<u64>(SUBSCRIPTION, publish).await.map(drop)
    }
}

const SUBSCRIPTION: &str = "subscription";

/// Receives messages, over one subscription after the other.
pub(crate) async fn listen(shared: &Shared, subscription: &Subscription, mut pubsub: PubSub) {
    loop {
        // What was published meanwhile did not arrive.
        shared.entries.wake_all();
        receive(shared, subscription, pubsub).await;
        pubsub = loop {
            match subscription.start(&shared.connection).await {
                Ok(pubsub) => break pubsub,
                Err(error) => {
                    tracing::debug!(%error, "no messages from Redis");
                    sleep(subscription.patience / 10).await;
                }
            }
        };
    }
}

/// Hears until the connection is dead. A dead one may be as silent as one on which nothing is said, so we say something.
async fn receive(shared: &Shared, subscription: &Subscription, mut pubsub: PubSub) {
    let mut messages = pubsub.on_message();
    let mut asked = false;
    loop {
        match timeout(subscription.patience, messages.next()).await {
            Ok(Some(message)) => {
                asked = false;
                let text: String = message.get_payload().unwrap_or_default();
                shared.entries.receive(text.split_whitespace().map(Seen::in_message));
            }
            Ok(None) => return,
            Err(_) if asked => return,
            // What cannot be published cannot arrive.
            Err(_) => asked = subscription.ping(&shared.connection).await.is_ok(),
        }
    }
}
