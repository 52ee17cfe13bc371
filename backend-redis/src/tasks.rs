//! What goes on in the background of a session: renewals, and messages.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select_ok;
use lockcore::session::keep_alive;
use lockcore::{Effect, Result};
use redis::aio::PubSub;
use redis::cmd;
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::error::error;
use crate::keep_alive::Renewals;
use crate::seen::Seen;
use crate::servers::Servers;
use crate::session::Shared;

/// Renews the session and hears messages for it, until it is lost.
pub(crate) fn start(shared: Arc<Shared>, subscription: Subscription, pubsub: PubSub) {
    tokio::spawn(async move {
        // It was begun just now.
        let interval = shared.lease.renewal_interval().unwrap_or_default();
        let renewed = async {
            sleep(interval).await;
            keep_alive(&shared.lease, &mut Renewals(&shared)).await
        };
        // Whatever comes first ends all three: nothing renews a lost session.
        tokio::select! {
            _ = shared.lease.lost() => {}
            _ = renewed => {}
            () = listen(&shared, &subscription, pubsub) => {}
        }
    });
}

/// How to hear of the session's turns.
pub(crate) struct Subscription {
    pub(crate) servers: Arc<Servers>,
    pub(crate) channel: String,
    pub(crate) patience: Duration,
}

impl Subscription {
    /// Subscribes anew, where what is said over this connection is heard. The client library neither limits the time of this nor
    /// repeats it.
    pub(crate) async fn start(&self, connection: &Connection) -> Result<PubSub> {
        match timeout(self.patience, self.subscribe(connection)).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(self.servers.silent(SUBSCRIPTION).with_effect(Effect::None)),
        }
    }

    async fn subscribe(&self, connection: &Connection) -> Result<PubSub> {
        let failed = |source| error(source, &self.servers.told(SUBSCRIPTION)).with_effect(Effect::None);
        let members = match self.servers.are_cluster() {
            true => connection.ask_any(SUBSCRIPTION, cmd("CLUSTER").arg("NODES").clone()).await?,
            false => String::new(),
        };
        let candidates = self.servers.listeners(&members).await.map_err(failed)?;
        let attempts = candidates.into_iter().map(|candidate| {
            Box::pin(async move {
                let mut pubsub = candidate.get_async_pubsub().await.map_err(failed)?;
                pubsub.subscribe(&self.channel).await.map_err(failed)?;
                self.say_something(connection).await?;
                let heard = pubsub.on_message().next().await;
                heard
                    .map(|_| pubsub)
                    .ok_or_else(|| self.servers.silent(SUBSCRIPTION).with_effect(Effect::None))
            })
        });
        select_ok(attempts).await.map(|(pubsub, _)| pubsub)
    }

    /// Whoever listens hears it, and knows that it would hear more. A connection that answers is not enough: it may be one to a
    /// node that has left its cluster.
    async fn say_something(&self, connection: &Connection) -> Result<()> {
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.channel).arg("");
        connection.ask_any::<u64>(SUBSCRIPTION, publish).await.map(drop)
    }
}

const SUBSCRIPTION: &str = "subscription";

async fn listen(shared: &Shared, subscription: &Subscription, mut pubsub: PubSub) {
    loop {
        // What was said meanwhile was not heard.
        shared.entries.wake_all();
        hear(shared, subscription, pubsub).await;
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
async fn hear(shared: &Shared, subscription: &Subscription, mut pubsub: PubSub) {
    let mut messages = pubsub.on_message();
    let mut asked = false;
    loop {
        match timeout(subscription.patience, messages.next()).await {
            Ok(Some(message)) => {
                asked = false;
                let text: String = message.get_payload().unwrap_or_default();
                for (id, told) in text.split_whitespace().map(Seen::told) {
                    shared.entries.hear(&id, told);
                }
            }
            Ok(None) => return,
            Err(_) if asked => return,
            // If it cannot be said, there is nothing to be heard.
            Err(_) => asked = subscription.say_something(&shared.connection).await.is_ok(),
        }
    }
}
