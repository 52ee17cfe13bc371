//! The watches of a session: its inbox, and the entries that somebody waits for.

use std::collections::HashMap;
use std::sync::Arc;

use etcd_client::{
    Error as ClientError, ResponseHeader, WatchFilterType, WatchOptions, WatchRequestSender, WatchResponse,
    WatchResponseStream,
};
use lockcore::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::connection::{Connection, Link, limited};
use crate::error::error;
use crate::layout::{Stay, inbox_key};
use crate::message::Message;
use crate::own_entries::OwnEntries;

/// The watch on our inbox, on each stream.
const INBOX: i64 = 1;

/// Where to ask to be told of departures. When the session is over, nobody listens any more.
#[derive(Debug, Clone)]
pub(crate) struct Watches {
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Notify when one of these entries leaves after this revision.
    Watch(Vec<Stay>, i64, Arc<Notify>),
    /// Nobody waits for this notification any more.
    Forget(Vec<Stay>, Arc<Notify>),
}

impl Watches {
    /// Returns when one of these entries may have left since the revision.
    pub(crate) async fn one_of_them_leaves(&self, stays: Vec<Stay>, since: i64) {
        let news = Arc::new(Notify::new());
        let waiting = Waiting { watches: self, stays, news };
        self.send(Order::Watch(waiting.stays.clone(), since, waiting.news.clone()));
        tokio::select! {
            () = waiting.news.notified() => {}
            () = self.orders.closed() => {}
        }
    }

    fn send(&self, order: Order) {
        // Without a listener the session is over.
        let _ = self.orders.send(order);
    }
}

struct Waiting<'w> {
    watches: &'w Watches,
    stays: Vec<Stay>,
    news: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.watches.send(Order::Forget(std::mem::take(&mut self.stays), self.news.clone()));
    }
}

/// The one stream of watches of a session: a watch on its inbox, which is there before anybody waits, and a watch
/// on each entry that somebody waits for.
#[derive(Debug)]
pub(crate) struct Watcher {
    connection: Arc<Connection>,
    own_entries: Arc<OwnEntries>,
    orders: UnboundedReceiver<Order>,
    watched: HashMap<Stay, Watched>,
    stays: HashMap<i64, Stay>,
    last: i64,
}

#[derive(Debug)]
struct Watched {
    id: i64,
    waiting: Vec<Arc<Notify>>,
}

impl Watcher {
    pub(crate) fn new(connection: Arc<Connection>, own_entries: Arc<OwnEntries>) -> (Self, Watches) {
        let (sender, orders) = unbounded_channel();
        let (watched, stays) = (HashMap::new(), HashMap::new());
        let watcher = Self { connection, own_entries, orders, watched, stays, last: INBOX };
        (watcher, Watches { orders: sender })
    }

    /// Serves the watches for as long as it is polled.
    pub(crate) async fn run(mut self) {
        loop {
            let Err(error) = self.stream().await;
            tracing::debug!(%error, "watches lost");
            // What happened meanwhile is not known.
            self.stays.clear();
            self.watched.drain().for_each(|(_, watched)| watched.notify());
            self.own_entries.missed_until(i64::MAX);
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
        let inbox = inbox_key(self.connection.options().root(), self.own_entries.session());
        let mut client = link.client().watch_client();
        let opened = client.watch(inbox, Some(options));
        Ok(link.answer(self.connection.options().patience(), opened).await?.split())
    }

    async fn serve(
        &mut self,
        mut requests: WatchRequestSender,
        mut answers: WatchResponseStream,
    ) -> Result<std::convert::Infallible> {
        let patience = self.connection.options().patience();
        let mut silence = interval_at(Instant::now() + patience, patience);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            tokio::select! {
                Some(order) = self.orders.recv() => {
                    limited(patience, self.execute(order, &mut requests)).await?;
                }
                answer = answers.message() => {
                    answered = true;
                    let answer = answer.map_err(error)?.ok_or_else(|| broken("etcd ended the stream of watches"))?;
                    limited(patience, self.handle(&answer, &mut requests)).await?;
                }
                _ = silence.tick() => {
                    if !std::mem::take(&mut answered) {
                        return Err(broken("the stream of watches is silent"));
                    }
                    limited(patience, requests.request_progress()).await?;
                }
            }
        }
    }

    async fn execute(&mut self, order: Order, requests: &mut WatchRequestSender) -> Result<(), ClientError> {
        match order {
            Order::Watch(stays, since, news) => {
                for stay in stays {
                    self.watch(stay, since, news.clone(), requests).await?;
                }
            }
            Order::Forget(stays, news) => {
                for stay in stays {
                    self.forget(&stay, &news, requests).await?;
                }
            }
        }
        Ok(())
    }

    /// A watch that is there already sees everything: its entry was there when it began.
    async fn watch(
        &mut self,
        stay: Stay,
        since: i64,
        news: Arc<Notify>,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        if let Some(watched) = self.watched.get_mut(&stay) {
            watched.waiting.push(news);
            return Ok(());
        }
        self.last += 1;
        let key = stay.key.clone();
        self.stays.insert(self.last, stay.clone());
        self.watched.insert(stay, Watched { id: self.last, waiting: vec![news] });
        let options = WatchOptions::new()
            .with_start_revision(since + 1)
            .with_watch_id(self.last)
            .with_filters([WatchFilterType::NoPut]);
        requests.watch(key, Some(options)).await
    }

    async fn forget(
        &mut self,
        stay: &Stay,
        news: &Arc<Notify>,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        let Some(watched) = self.watched.get_mut(stay) else { return Ok(()) };
        watched.waiting.retain(|other| !Arc::ptr_eq(other, news));
        if watched.waiting.is_empty() { self.left(stay, requests).await } else { Ok(()) }
    }

    /// Notifies those who wait for the entry, and ends its watch.
    async fn left(&mut self, stay: &Stay, requests: &mut WatchRequestSender) -> Result<(), ClientError> {
        let Some(watched) = self.watched.remove(stay) else { return Ok(()) };
        self.stays.remove(&watched.id);
        watched.notify();
        requests.cancel(watched.id).await
    }

    async fn handle(
        &mut self,
        answer: &WatchResponse,
        requests: &mut WatchRequestSender,
    ) -> Result<(), ClientError> {
        if is_refusal(answer, self.last) {
            return Err(ClientError::WatchError(answer.cancel_reason().to_owned()));
        }
        if answer.watch_id() == INBOX {
            if answer.created() {
                // It shows only what comes later.
                self.own_entries.missed_until(answer.header().map_or(i64::MAX, ResponseHeader::revision));
            }
            let texts = answer.events().iter().filter_map(|event| event.kv()?.value_str().ok());
            texts.filter_map(Message::parse).for_each(|message| self.own_entries.received(message));
        } else if (answer.canceled() || !answer.events().is_empty())
            && let Some(stay) = self.stays.get(&answer.watch_id()).cloned()
        {
            // The entry has left, or the history since it was seen has been compacted.
            self.left(&stay, requests).await?;
        }
        Ok(())
    }
}

impl Watched {
    fn notify(&self) {
        self.waiting.iter().for_each(|news| news.notify_one());
    }
}

/// Whether this refuses a watch, so that the next one would be refused as well: above all when the token has expired
/// with which the stream was opened. etcd then names no watch.
fn is_refusal(answer: &WatchResponse, last: i64) -> bool {
    let ours = (INBOX..=last).contains(&answer.watch_id());
    answer.canceled()
        && (!ours || answer.watch_id() == INBOX || (answer.created() && answer.compact_revision() == 0))
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Unreachable, what)
}
