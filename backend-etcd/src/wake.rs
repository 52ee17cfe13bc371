//! Wakes up those who wait for an entry to leave.

use std::collections::HashMap;
use std::sync::Arc;

use etcd_client::{
    Error as ClientError, WatchFilterType, WatchOptions, WatchRequestSender, WatchResponse,
    WatchResponseStream,
};
use lockcore::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::connection::{Connection, Link, limited};
use crate::error::error;
use crate::layout::inbox_key;

/// The watch on our inbox, on each stream.
const INBOX: i64 = 1;

/// Where to ask to be woken up. When the session is over, nobody listens any more.
#[derive(Debug, Clone)]
pub(crate) struct Bells {
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Ring when one of the entries with these keys leaves after this revision.
    Watch(Vec<String>, i64, Arc<Notify>),
    /// Nobody waits with this bell any more.
    Forget(Vec<String>, Arc<Notify>),
    /// The entry with this key has left.
    Left(String),
}

impl Bells {
    /// Returns when one of the entries whose keys begin like this may have left since the revision.
    pub(crate) async fn one_of_them_leaves(&self, keys: Vec<String>, since: i64) {
        let bell = Arc::new(Notify::new());
        let waiting = Waiting { bells: self, keys, bell };
        self.send(Order::Watch(waiting.keys.clone(), since, waiting.bell.clone()));
        tokio::select! {
            () = waiting.bell.notified() => {}
            () = self.orders.closed() => {}
        }
    }

    /// Wakes up those of this session who wait for this entry to leave.
    pub(crate) fn has_left(&self, key: String) {
        self.send(Order::Left(key));
    }

    fn send(&self, order: Order) {
        // Without a listener the session is over.
        let _ = self.orders.send(order);
    }
}

struct Waiting<'b> {
    bells: &'b Bells,
    keys: Vec<String>,
    bell: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.bells.send(Order::Forget(std::mem::take(&mut self.keys), self.bell.clone()));
    }
}

/// The one stream of watches of a session: a watch on its inbox, which is there before anybody waits, and a watch
/// on each entry that somebody waits for.
#[derive(Debug)]
pub(crate) struct Ringer {
    connection: Arc<Connection>,
    lease: i64,
    orders: UnboundedReceiver<Order>,
    watched: HashMap<String, Watched>,
    keys: HashMap<i64, String>,
    last: i64,
}

#[derive(Debug)]
struct Watched {
    id: i64,
    bells: Vec<Arc<Notify>>,
}

impl Ringer {
    pub(crate) fn new(connection: Arc<Connection>, lease: i64) -> (Self, Bells) {
        let (sender, orders) = unbounded_channel();
        let ringer =
            Self { connection, lease, orders, watched: HashMap::new(), keys: HashMap::new(), last: INBOX };
        (ringer, Bells { orders: sender })
    }

    /// Rings, as long as somebody polls.
    pub(crate) async fn ring(mut self) {
        loop {
            let Err(error) = self.stream().await;
            tracing::debug!(%error, "watches lost");
            // What happened meanwhile is not known.
            self.keys.clear();
            self.watched.drain().for_each(|(_, watched)| watched.ring());
            sleep(self.connection.options().patience() / 8).await;
        }
    }

    /// Serves on one stream until that fails.
    async fn stream(&mut self) -> Result<std::convert::Infallible> {
        let link = self.connection.link().await?;
        let failed = match self.open(&link).await {
            Ok((requests, answers)) => self.serve(requests, answers).await,
            Err(error) => Err(error),
        };
        self.connection.replace(&link).await;
        failed
    }

    async fn open(&self, link: &Link) -> Result<(WatchRequestSender, WatchResponseStream)> {
        let options = WatchOptions::new().with_watch_id(INBOX).with_filters([WatchFilterType::NoDelete]);
        let inbox = inbox_key(self.connection.options().root(), self.lease);
        let mut client = link.client().watch_client();
        let opened = client.watch(inbox, Some(options));
        Ok(limited(self.connection.options().patience(), opened).await?.split())
    }

    async fn serve(
        &mut self,
        mut requests: WatchRequestSender,
        mut answers: WatchResponseStream,
    ) -> Result<std::convert::Infallible> {
        let patience = self.connection.options().patience();
        let mut silence = interval_at(Instant::now() + patience, patience);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            tokio::select! {
                Some(order) = self.orders.recv() => {
                    limited(patience, self.obey(order, &mut requests)).await?;
                }
                answer = answers.message() => {
                    heard = true;
                    let answer = answer.map_err(error)?.ok_or_else(|| broken("etcd ended the stream of watches"))?;
                    limited(patience, self.hear(&answer, &mut requests)).await?;
                }
                _ = silence.tick() => {
                    if !std::mem::take(&mut heard) {
                        return Err(broken("the stream of watches is silent"));
                    }
                    limited(patience, requests.request_progress()).await?;
                }
            }
        }
    }

    async fn obey(&mut self, order: Order, requests: &mut WatchRequestSender) -> Result<(), ClientError> {
        match order {
            Order::Watch(keys, since, bell) => {
                for key in keys {
                    self.watch(key, since, bell.clone(), requests).await?;
                }
            }
            Order::Forget(keys, bell) => {
                for key in keys {
                    self.forget(&key, &bell, requests).await?;
                }
            }
            Order::Left(key) => self.left(&key, requests).await?,
        }
        Ok(())
    }

    /// A watch that is there already sees everything: its entry was there when it began, and comes only once.
    async fn watch(
        &mut self,
        key: String,
        since: i64,
        bell: Arc<Notify>,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        if let Some(watched) = self.watched.get_mut(&key) {
            watched.bells.push(bell);
            return Ok(());
        }
        self.last += 1;
        self.keys.insert(self.last, key.clone());
        self.watched.insert(key.clone(), Watched { id: self.last, bells: vec![bell] });
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(since + 1)
            .with_watch_id(self.last)
            .with_filters([WatchFilterType::NoPut]);
        requests.watch(key, Some(options)).await
    }

    async fn forget(
        &mut self,
        key: &str,
        bell: &Arc<Notify>,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        let Some(watched) = self.watched.get_mut(key) else { return Ok(()) };
        watched.bells.retain(|other| !Arc::ptr_eq(other, bell));
        if watched.bells.is_empty() { self.left(key, requests).await } else { Ok(()) }
    }

    /// Rings, and ends the watch.
    async fn left(&mut self, key: &str, requests: &mut WatchRequestSender) -> Result<(), ClientError> {
        let Some(watched) = self.watched.remove(key) else { return Ok(()) };
        self.keys.remove(&watched.id);
        watched.ring();
        requests.cancel(watched.id).await
    }

    async fn hear(
        &mut self,
        answer: &WatchResponse,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        if answer.watch_id() != INBOX {
            // An entry has left, or its watch was refused: the history since then may have been compacted.
            if (answer.canceled() || !answer.events().is_empty())
                && let Some(key) = self.keys.get(&answer.watch_id()).cloned()
            {
                self.left(&key, requests).await?;
            }
            return Ok(());
        }
        if answer.canceled() {
            return Err(ClientError::WatchError(answer.cancel_reason().to_owned()));
        }
        for message in answer.events().iter().filter_map(|event| event.kv()) {
            if let Ok(key) = message.value_str() {
                self.left(key, requests).await?;
            }
        }
        Ok(())
    }
}

impl Watched {
    fn ring(&self) {
        self.bells.iter().for_each(|bell| bell.notify_one());
    }
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Unreachable, what)
}
