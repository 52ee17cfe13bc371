//! A TCP proxy between one client and one server, for the failures of the network that locks must survive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of one server, in this process.
///
/// Its verbs take effect at once, for the connections that there are and for new ones: when a verb has
/// returned, no byte passes that it stops. Dropping the proxy ends all of its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Listens on a free loopback port, and passes each connection on to `upstream`, a `host:port`.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says to the listening socket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(upstream: impl Into<String> + Send) -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), upstream).await
    }

    /// The same, where clients connect to this address, such as `::1`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_on(address: IpAddr, upstream: impl Into<String> + Send) -> io::Result<Self> {
        let upstream = upstream.into();
        let listener = TcpListener::bind((address, 0)).await?;
        let proxy =
            Self { address: listener.local_addr()?, state: watch::Sender::default(), counts: Arc::default() };
        let (state, counts) = (proxy.state.subscribe(), Arc::clone(&proxy.counts));
        tokio::spawn(run(listener, upstream.into(), state, counts));
        Ok(proxy)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections, and each new one, until healed. An abandoned server side stays open.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.enter(Mode::Cut);
            state.events.push(Event::Reset);
        });
    }

    /// Drops what the server sends from now on; requests still pass. So they are executed, and their reply is
    /// lost. Such a stream stays broken: the next verb resets it.
    pub fn mute(&self) {
        self.state.send_modify(|state| state.enter(Mode::Mute));
    }

    /// Keeps what clients send from now on; replies still pass.
    pub fn hold(&self) {
        self.state.send_modify(|state| state.enter(Mode::Hold));
    }

    /// Keeps what the server sends from now on; requests still pass. So they are executed, and their replies come late.
    pub fn delay(&self) {
        self.state.send_modify(|state| state.enter(Mode::Delay));
    }

    /// Lets everything pass again, what was kept first.
    pub fn heal(&self) {
        self.state.send_modify(|state| state.enter(Mode::Pass));
    }

    /// Resets the client side of all connections, but keeps their server side and what was held for it, until
    /// [`deliver`](Self::deliver). New connections pass.
    pub fn abandon(&self) {
        self.state.send_modify(|state| {
            state.events.push(Event::Abandon);
            state.enter(Mode::Pass);
        });
    }

    /// Sends to the server what was held on connections that have been [abandoned](Self::abandon): requests
    /// that arrive late, after their client gave up.
    pub fn deliver(&self) {
        self.state.send_modify(|state| state.events.push(Event::Deliver));
    }

    /// How many bytes of requests have been [held](Self::hold), and of replies [delayed](Self::delay), so far. When it has
    /// grown, the client has sent, or the server answered.
    pub fn held(&self) -> usize {
        self.counts.held.load(Ordering::Relaxed)
    }

    /// How many bytes of replies have been [dropped](Self::mute) so far. When it has grown, the server has
    /// answered.
    pub fn dropped(&self) -> usize {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    dropped: AtomicUsize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Pass,
    Mute,
    Hold,
    Delay,
    Cut,
}

impl Mode {
    /// What waits for a later verb.
    fn keeps(self) -> Option<Direction> {
        match self {
            Mode::Hold => Some(Direction::Requests),
            Mode::Delay => Some(Direction::Replies),
            Mode::Pass | Mode::Mute | Mode::Cut => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Reset,
    Abandon,
    Deliver,
}

/// What the verbs have asked for. The events are kept as a list, so that no connection misses one of two that
/// come in quick succession.
#[derive(Debug, Default)]
struct State {
    mode: Mode,
    events: Vec<Event>,
}

impl State {
    fn enter(&mut self, mode: Mode) {
        if self.mode == Mode::Mute && mode != Mode::Mute {
            self.events.push(Event::Reset);
        }
        self.mode = mode;
    }

    /// The first of these events since a connection was `born`, and the number of events up to and including it.
    fn first(&self, born: usize, wanted: &[Event]) -> Option<(Event, usize)> {
        let position = self.events[born..].iter().position(|event| wanted.contains(event))?;
        Some((self.events[born + position], born + position + 1))
    }
}

async fn run(listener: TcpListener, upstream: Arc<str>, state: watch::Receiver<State>, counts: Arc<Counts>) {
    let accept = async {
        loop {
            let Ok((client, _)) = listener.accept().await else { continue };
            let born = state.borrow().events.len();
            let link = Link { born, state: state.clone(), counts: Arc::clone(&counts) };
            tokio::spawn(link.serve(client, Arc::clone(&upstream)));
        }
    };
    tokio::select! {
        () = accept => {}
        () = dropped(state.clone()) => {}
    }
}

/// What one connection knows of the proxy.
struct Link {
    born: usize,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
}

impl Link {
    async fn serve(self, mut client: TcpStream, upstream: Arc<str>) {
        if self.state.borrow().mode == Mode::Cut {
            return reset(client);
        }
        let Ok(mut server) = TcpStream::connect(&*upstream).await else { return reset(client) };
        let mut kept = Vec::new();
        let end = tokio::select! {
            done = self.pass(&mut client, &mut server, &mut kept) => match done {
                Ok(()) => return,
                Err(_) => None,
            },
            end = event(self.state.clone(), self.born, &[Event::Reset, Event::Abandon]) => end,
        };
        reset(client);
        match end {
            Some((Event::Abandon, seen)) => deliver_late(server, kept, self.state, seen).await,
            _ => reset(server),
        }
    }

    /// Passes bytes both ways, until both sides have ended. What is on its way to the server is in `kept`.
    async fn pass(
        &self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        kept: &mut Vec<u8>,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut replies = Vec::new();
        tokio::try_join!(
            self.pump(from_client, to_server, kept, Direction::Requests),
            self.pump(from_server, to_client, &mut replies, Direction::Replies),
        )?;
        Ok(())
    }

    async fn pump(
        &self,
        from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        buffer: &mut Vec<u8>,
        direction: Direction,
    ) -> io::Result<()> {
        let mut state = self.state.clone();
        let mut more = true;
        loop {
            let open = self.flush(&mut state, &to, buffer, direction)?;
            if open && buffer.is_empty() && !more {
                return to.shutdown().await;
            }
            tokio::select! {
                changed = state.changed() => changed.map_err(io::Error::other)?,
                ready = from.readable(), if more && (!open || buffer.is_empty()) => {
                    ready?;
                    more = self.read(&from, buffer, open, direction)?;
                }
                ready = to.writable(), if open && !buffer.is_empty() => ready?,
            }
        }
    }

    /// Writes what may be written and drops what is to be dropped; says whether the way is open. It looks at
    /// the mode and writes in one step, so that a verb that has returned stops every later byte.
    fn flush(
        &self,
        state: &mut watch::Receiver<State>,
        to: &WriteHalf<'_>,
        buffer: &mut Vec<u8>,
        direction: Direction,
    ) -> io::Result<bool> {
        let state = state.borrow_and_update();
        if state.mode == Mode::Mute && direction == Direction::Replies {
            self.counts.dropped.fetch_add(buffer.len(), Ordering::Relaxed);
            buffer.clear();
            return Ok(false);
        }
        let ended = state.first(self.born, &[Event::Reset, Event::Abandon]).is_some();
        if ended || state.mode.keeps() == Some(direction) {
            return Ok(false);
        }
        while !buffer.is_empty() {
            match to.try_write(buffer) {
                Ok(written) => drop(buffer.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads once; says whether there may be more.
    fn read(
        &self,
        from: &ReadHalf<'_>,
        buffer: &mut Vec<u8>,
        open: bool,
        direction: Direction,
    ) -> io::Result<bool> {
        let read = match from.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            result => result?,
        };
        if !open && self.state.borrow().mode.keeps() == Some(direction) {
            self.counts.held.fetch_add(read, Ordering::Relaxed);
        }
        Ok(read > 0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Replies,
}

/// Waits for the first of these events; `None` when the proxy is dropped.
async fn event(mut state: watch::Receiver<State>, born: usize, wanted: &[Event]) -> Option<(Event, usize)> {
    let state = state.wait_for(|state| state.first(born, wanted).is_some()).await.ok()?;
    state.first(born, wanted)
}

async fn dropped(mut proxy: watch::Receiver<State>) {
    while proxy.changed().await.is_ok() {}
}

/// Keeps the server's side open until the proxy is dropped: a server may give up a request whose connection
/// ends behind it.
async fn deliver_late(mut server: TcpStream, kept: Vec<u8>, state: watch::Receiver<State>, seen: usize) {
    let (from_server, mut to_server) = server.split();
    let deliver = async {
        if event(state.clone(), seen, &[Event::Deliver]).await.is_some() {
            let _ = to_server.write_all(&kept).await;
            dropped(state.clone()).await;
        }
    };
    tokio::select! {
        () = deliver => {}
        () = discard(from_server) => {}
    }
}

async fn discard(mut from: impl AsyncRead + Unpin + Send) {
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}
