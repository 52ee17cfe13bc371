//! One connection at a time, to a server that answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Error as ClientError, GetOptions, GetResponse, KvClient, PutOptions, Txn, TxnResponse,
};
use futures::stream::{FuturesUnordered, StreamExt};
use lockcore::{Effect, Error, ErrorKind, Result};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{error, refuses_password};
use crate::layout::session_key;
use crate::options::EtcdOptions;

/// The servers, and the one that is in use.
///
/// The client library would spread requests over all servers, and keep sending a part of them to one that is
/// connected but does not answer. So each client knows one server, and is replaced when that fails.
#[derive(Debug)]
pub(crate) struct Connection {
    options: EtcdOptions,
    link: Mutex<Option<Link>>,
    room: Semaphore,
}

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Link {
    client: Arc<Client>,
    kv: KvClient,
    endpoint: Arc<str>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.endpoint).finish()
    }
}

impl Link {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn kv(&self) -> KvClient {
        self.kv.clone()
    }

    /// The answer of this server, within the time that it may take.
    pub(crate) async fn answer<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T> {
        let answer = limited(patience, answer).await.map_err(|error| match refuses_password(&error) {
            // It was right once: whoever connects anew does so with the one that there is now.
            true => Error::new(ErrorKind::Unreachable, "the password is not right any more")
                .with_effect(Effect::None)
                .with_source(error),
            false => error,
        });
        answer.map_err(|error| error.with_context(server(&self.endpoint)))
    }
}

/// How many requests of one session are under way at once. The time for an answer runs while a request waits for
/// others at the server.
const AT_ONCE: usize = 64;

/// How long to wait before a server is tried again that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

impl Connection {
    pub(crate) fn new(options: EtcdOptions) -> Self {
        Self { options, link: Mutex::new(None), room: Semaphore::new(AT_ONCE) }
    }

    pub(crate) fn options(&self) -> &EtcdOptions {
        &self.options
    }

    /// The connection in use, or a new one.
    pub(crate) async fn link(&self) -> Result<Link> {
        let Ok(mut link) = timeout(self.options.patience(), self.link.lock()).await else {
            return Err(self.unreachable());
        };
        match &*link {
            Some(link) => Ok(link.clone()),
            None => Ok(link.insert(self.connect().await?).clone()),
        }
    }

    /// Whoever comes next gets a new connection instead of this one.
    pub(crate) async fn replace(&self, failed: &Link) {
        let mut link = self.link.lock().await;
        if link.as_ref().is_some_and(|link| Arc::ptr_eq(&link.client, &failed.client)) {
            *link = None;
        }
    }

    /// A connection to the server that is the first to answer. It gives up a little earlier than its callers, to
    /// tell them why.
    async fn connect(&self) -> Result<Link> {
        let deadline = Instant::now() + self.options.patience() * 3 / 4;
        let mut failure = self.unreachable();
        let attempt = |endpoint| self.connect_to(endpoint, Duration::ZERO);
        let mut attempts: FuturesUnordered<_> =
            self.options.endpoints().map(Arc::from).map(attempt).collect();
        while let Ok(Some(attempted)) = timeout_at(deadline, attempts.next()).await {
            match attempted {
                Ok(link) => return Ok(link),
                Err((endpoint, error)) if error.is_retryable() => {
                    failure = self.unreachable().with_source(error);
                    attempts.push(self.connect_to(endpoint, PAUSE));
                }
                // Another server may have a better certificate.
                Err((_, error)) if error.kind() == ErrorKind::InvalidConfig && !attempts.is_empty() => {}
                Err((_, error)) => return Err(error),
            }
        }
        Err(failure)
    }

    fn unreachable(&self) -> Error {
        let message = format!(
            "no etcd server answers at {}: see whether it runs and can be reached",
            self.options.servers()
        );
        Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None)
    }

    /// The library connects with the first request. This one needs a leader and the permission to read.
    async fn connect_to(&self, endpoint: Arc<str>, pause: Duration) -> Result<Link, (Arc<str>, Error)> {
        sleep(pause).await;
        let connected = async {
            let options = self.options.connect_options()?;
            let asked = async {
                let client = Arc::new(Client::connect([&endpoint], Some(options)).await?);
                // A queue may be longer than the library's limit for an answer.
                let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
                let question = GetOptions::new().with_count_only();
                kv.get(session_key(self.options.root(), 0), Some(question)).await?;
                Ok(Link { client, kv, endpoint: endpoint.clone() })
            };
            limited(self.options.patience(), asked).await
        };
        let failure = match connected.await {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        let refusal = match failure.is_retryable() {
            true => self.options.tls_refusal(address(&endpoint)).await,
            false => None,
        };
        let error = refusal.unwrap_or(failure).with_context(server(&endpoint)).with_effect(Effect::None);
        Err((endpoint, error))
    }

    /// The answer to a request, within the time that an answer may take.
    pub(crate) async fn call<T, F>(&self, request: impl FnOnce(&Link) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        // Never closed.
        let _room = self.room.acquire().await;
        let link = self.link().await?;
        let answer = link.answer(self.options.patience(), request(&link)).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unreachable) {
            self.replace(&link).await;
        }
        answer
    }

    pub(crate) async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.call(|link| {
            let mut kv = link.kv();
            async move { kv.txn(txn).await }
        })
        .await
    }

    pub(crate) async fn get(&self, key: impl Into<Vec<u8>>, options: GetOptions) -> Result<GetResponse> {
        let key = key.into();
        self.call(|link| {
            let mut kv = link.kv();
            async move { kv.get(key, Some(options)).await }
        })
        .await
    }

    pub(crate) async fn put(&self, key: String, value: String, options: PutOptions) -> Result<()> {
        self.call(|link| {
            let mut kv = link.kv();
            async move { kv.put(key, value, Some(options)).await }
        })
        .await
        .map(drop)
    }
}

fn address(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, address)| address)
}

/// A server, for messages.
fn server(endpoint: &str) -> String {
    format!("etcd at {}", address(endpoint))
}

/// The output of a future of the client library, which has no limits of its own.
pub(crate) async fn limited<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(error),
        Err(_) => Err(Error::new(
            ErrorKind::Unreachable,
            format!("no answer within {patience:?}: see whether it runs and can be reached"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use conformance::proxy::Proxy;
    use conformance::server::Etcd;

    use super::*;

    /// Nothing else than the call that fails replaces the connection here: there is no session.
    #[tokio::test]
    async fn a_server_that_does_not_answer_a_call_is_replaced() {
        let server = Etcd::start().await.unwrap();
        let proxies =
            [Proxy::start(server.address()).await.unwrap(), Proxy::start(server.address()).await.unwrap()];
        let addresses = proxies.each_ref().map(|proxy| proxy.address().to_string());
        let connection =
            Connection::new(EtcdOptions::new(addresses).with_session_timeout(Duration::from_secs(3)));
        let call = || connection.get("/", GetOptions::new());
        call().await.unwrap();
        proxies.iter().for_each(Proxy::hold);
        let held = proxies.each_ref().map(Proxy::held);
        assert_eq!(call().await.unwrap_err().kind(), ErrorKind::Unreachable);
        let unused = (0..2).find(|index| proxies[*index].held() == held[*index]).unwrap();
        proxies[unused].heal();
        call().await.unwrap();
    }
}
