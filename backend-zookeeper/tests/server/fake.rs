//! A server that answers connections and transactions when it is told to, and everything else at once.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Connect,
    Ping,
    Transaction,
    Other,
}

/// A server with one session of ten seconds.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    /// How many connections and transactions it answers, since it began.
    pub(crate) answers: watch::Sender<usize>,
    /// What it answers to transactions, as an error; 0 for none.
    pub(crate) error: Arc<AtomicI32>,
    asked: Arc<Mutex<Vec<Request>>>,
    cuts: watch::Sender<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            answers: watch::Sender::new(0),
            error: Arc::default(),
            asked: Arc::default(),
            cuts: watch::Sender::new(()),
        };
        let (answers, asked, cuts) = (fake.answers.subscribe(), fake.asked.clone(), fake.cuts.subscribe());
        let error = fake.error.clone();
        tokio::spawn(async move {
            let mut answered = 0;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // The end of a connection is no failure.
                let _ = serve(stream, answers.clone(), &error, &mut answered, &asked, cuts.clone()).await;
            }
        });
        fake
    }

    /// What has been asked for so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// Ends the connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_replace(());
    }
}

async fn serve(
    stream: TcpStream,
    mut answers: watch::Receiver<usize>,
    error: &AtomicI32,
    answered: &mut usize,
    asked: &Mutex<Vec<Request>>,
    mut cuts: watch::Receiver<()>,
) -> io::Result<()> {
    cuts.mark_unchanged();
    let (reader, mut writer) = stream.into_split();
    let mut frames = frames(reader);
    let mut waiting = Vec::new();
    loop {
        while *answered < *answers.borrow_and_update() && !waiting.is_empty() {
            *answered += 1;
            write(&mut writer, waiting.remove(0)).await?;
        }
        tokio::select! {
            changed = answers.changed() => changed.map_err(io::Error::other)?,
            _ = cuts.changed() => return Ok(()),
            frame = frames.recv() => {
                let (frame, first) = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
                let (request, answer) = if first { (Request::Connect, accepted()) } else { answer(&frame, error.load(Ordering::Relaxed)) };
                asked.lock().unwrap().push(request);
                match request {
                    Request::Connect | Request::Transaction => waiting.push(answer),
                    Request::Ping | Request::Other => write(&mut writer, answer).await?,
                }
            }
        }
    }
}

/// The frames that come, the first marked.
fn frames(mut reader: OwnedReadHalf) -> mpsc::Receiver<(Vec<u8>, bool)> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut first = true;
        while let Ok(length) = reader.read_u32().await {
            let mut frame = vec![0; length as usize];
            if reader.read_exact(&mut frame).await.is_err() || sender.send((frame, first)).await.is_err() {
                break;
            }
            first = false;
        }
    });
    receiver
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), answer: Vec<u8>) -> io::Result<()> {
    writer.write_u32(u32::try_from(answer.len()).unwrap()).await?;
    writer.write_all(&answer).await
}

/// Protocol 0, a timeout of 10 s, session 1, a password of one byte.
fn accepted() -> Vec<u8> {
    let session = 1i64.to_be_bytes();
    [&0i32.to_be_bytes(), &10_000i32.to_be_bytes(), &session[..], &1i32.to_be_bytes(), &[7, 0]].concat()
}

/// The answer to a request, which begins with its number and its kind: the number, a point in history, an error.
fn answer(frame: &[u8], error: i32) -> (Request, Vec<u8>) {
    const NO_NODE: i32 = -101;
    let (number, kind) = (&frame[..4], i32::from_be_bytes(frame[4..8].try_into().unwrap()));
    let header = |error: i32| [number, &1i64.to_be_bytes(), &error.to_be_bytes()].concat();
    match kind {
        11 => (Request::Ping, header(0)),
        14 => {
            // Each part: its kind (a check, the end), whether that is the end, an error.
            let part = |kind: i32, end: u8| [&kind.to_be_bytes()[..], &[end], &0i32.to_be_bytes()].concat();
            (Request::Transaction, [header(error), part(13, 0), part(-1, 1)].concat())
        }
        _ => (Request::Other, header(NO_NODE)),
    }
}
