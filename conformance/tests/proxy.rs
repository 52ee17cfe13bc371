//! Each verb of the proxy, in front of a server that echoes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::future_not_send, reason = "a test runs on one thread")]

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that echoes, and remembers what it was sent.
struct Echo {
    proxy: Proxy,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
        let received = Arc::<Mutex<Vec<u8>>>::default();
        tokio::spawn(serve(listener, Arc::clone(&received)));
        Self { proxy, received }
    }

    /// A client whose connection is known to pass.
    async fn client(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, b"hello").await.unwrap(), b"hello");
        self.received.lock().unwrap().clear();
        client
    }

    fn has(&self, text: &[u8]) -> bool {
        *self.received.lock().unwrap() == text
    }
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65536];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                received.lock().unwrap().extend(&buffer[..read]);
                if stream.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn ask(client: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    within(client.read_exact(&mut answer)).await?;
    Ok(answer)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("in time")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// What the client still gets, and how its connection ends.
async fn rest(client: &mut TcpStream) -> (Vec<u8>, io::Result<usize>) {
    let mut rest = Vec::new();
    let end = within(client.read_to_end(&mut rest)).await;
    (rest, end)
}

async fn assert_reset(client: &mut TcpStream) {
    let (rest, end) = rest(client).await;
    assert_eq!((rest, end.unwrap_err().kind()), (vec![], io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn passes_more_than_any_buffer_holds_and_the_end() {
    let echo = Echo::start().await;
    let client = echo.client().await;
    let sent: Vec<u8> = (0..16_000_000u32).map(|i| i as u8).collect();
    let (mut from, mut to) = client.into_split();
    let mut got = Vec::new();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    within(async { tokio::join!(write, from.read_to_end(&mut got)).1 }).await.unwrap();
    assert!(got == sent, "{} bytes", got.len());
}

#[tokio::test]
async fn a_client_is_reset_when_there_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
    drop(listener);
    assert_reset(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
}

#[tokio::test]
async fn a_cut_resets_old_and_new_connections_until_healed() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.cut();
    client.write_all(b"late").await.unwrap();
    assert_reset(&mut client).await;
    assert_reset(&mut TcpStream::connect(echo.proxy.address()).await.unwrap()).await;
    echo.proxy.heal();
    echo.client().await;
    assert!(echo.has(b""));
}

#[tokio::test]
async fn a_cut_is_felt_even_when_healed_at_once() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.cut();
    echo.proxy.heal();
    assert_reset(&mut client).await;
}

#[tokio::test]
async fn a_muted_request_is_executed_and_its_reply_lost() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.mute();
    client.write_all(b"create").await.unwrap();
    until(|| echo.proxy.dropped() == b"create".len()).await;
    assert!(echo.has(b"create"));
    echo.proxy.heal();
    assert_reset(&mut client).await;
    echo.client().await;
}

#[tokio::test]
async fn held_requests_arrive_in_order_when_healed() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.hold();
    client.write_all(b"first, ").await.unwrap();
    until(|| echo.proxy.held() == b"first, ".len()).await;
    assert!(echo.has(b""));
    echo.proxy.heal();
    client.write_all(b"second").await.unwrap();
    let mut answer = [0; b"first, second".len()];
    within(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"first, second");
    assert!(echo.has(b"first, second"));
}

#[tokio::test]
async fn replies_pass_while_requests_are_held() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
    proxy.hold();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = within(listener.accept()).await.unwrap();
    server.write_all(b"event").await.unwrap();
    let mut event = [0; 5];
    within(client.read_exact(&mut event)).await.unwrap();
    assert_eq!(&event, b"event");
}

#[tokio::test]
async fn a_delayed_reply_arrives_when_healed() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.delay();
    client.write_all(b"ask").await.unwrap();
    until(|| echo.proxy.held() == b"ask".len()).await;
    assert!(echo.has(b"ask"), "the server was asked");
    assert!(client.try_read(&mut [0; 8]).is_err(), "the reply passed");
    echo.proxy.heal();
    let mut answer = [0; 3];
    within(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ask");
}

#[tokio::test]
async fn an_abandoned_request_arrives_after_its_client_gave_up() {
    let echo = Echo::start().await;
    let mut client = echo.client().await;
    echo.proxy.hold();
    client.write_all(b"create").await.unwrap();
    until(|| echo.proxy.held() == b"create".len()).await;
    echo.proxy.abandon();
    assert_reset(&mut client).await;

    let mut other = TcpStream::connect(echo.proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, b"delete, ").await.unwrap(), b"delete, ");
    echo.proxy.cut();
    assert_reset(&mut other).await;
    echo.proxy.heal();
    let mut other = TcpStream::connect(echo.proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, b"close, ").await.unwrap(), b"close, ");
    echo.proxy.deliver();
    until(|| echo.has(b"delete, close, create")).await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).await.unwrap();
    let address = proxy.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = within(listener.accept()).await.unwrap();
    drop(proxy);
    assert_reset(&mut client).await;
    assert_reset(&mut server).await;
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    within(closed).await;
}
