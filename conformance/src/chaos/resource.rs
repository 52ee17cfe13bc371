//! What the locks protect: it remembers the largest token, and refuses smaller ones.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::now;
use crate::history::{Event, What};

/// The resource, in the process that judges.
#[derive(Debug, Default)]
pub(super) struct Resource {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    largest: BTreeMap<String, u64>,
    events: Vec<Event>,
}

impl Resource {
    /// Serves writers until this runtime ends; where.
    pub(super) async fn serve(self: Arc<Self>) -> io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            while let Ok((writer, _)) = listener.accept().await {
                let resource = self.clone();
                tokio::spawn(async move {
                    // A writer that was killed is no failure.
                    let _ = resource.listen(writer).await;
                });
            }
        });
        Ok(address)
    }

    async fn listen(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).await? > 0 {
            let mut words = line.splitn(3, ' ');
            let mut number =
                || words.next().and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData);
            let (acquisition, token) = (number()?, number()?);
            let lock = words.next().unwrap_or_default().trim_end();
            let answer =
                if self.write(acquisition, lock, token) { b"taken\n" as &[u8] } else { b"refused\n" };
            lines.write_all(answer).await?;
            line.clear();
        }
        Ok(())
    }

    fn write(&self, acquisition: u64, lock: &str, token: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = state.largest.entry(lock.to_owned()).or_default();
        let accepted = token >= *largest;
        *largest = token.max(*largest);
        state.events.push(Event { at: now(), acquisition, what: What::Wrote { accepted } });
        accepted
    }

    /// All writes, in their order.
    pub(super) fn events(&self) -> Vec<Event> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }
}

/// A way to the resource.
#[derive(Debug)]
pub(super) struct Writer {
    stream: BufReader<TcpStream>,
}

impl Writer {
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(address).await?) })
    }

    pub(super) async fn write(&mut self, acquisition: u64, lock: &str, token: u64) -> io::Result<()> {
        self.stream.write_all(format!("{acquisition} {token} {lock}\n").as_bytes()).await?;
        self.stream.read_line(&mut String::new()).await.map(|_| ())
    }
}
