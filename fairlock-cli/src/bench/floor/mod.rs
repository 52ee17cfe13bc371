//! The floor: what no lock on a service can do without, through the client library that the backend uses.
//!
//! That is one request that makes an entry and one that removes it. Who is next is told within this process, for nothing,
//! so that every waiter pays for its two requests and for nobody's message.

#[cfg(feature = "etcd")]
mod etcd;
mod file;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
#[cfg(feature = "redis")]
pub(super) mod redis;
mod zookeeper;

use std::sync::Arc;

use async_trait::async_trait;
use fairlock::LockUrl;
use lockcore::queue::rule::UNBOUNDED;
use tokio::sync::Mutex;

use super::turn::{Clock, Contender, Turn};
use crate::exit::{Failure, UNREACHABLE};

/// A client of the service that keeps at most one entry.
#[async_trait]
pub(super) trait Client: Send + 'static {
    /// Makes an entry.
    async fn enter(&mut self) -> Result<(), Failure>;
    /// Removes it.
    async fn leave(&mut self) -> Result<(), Failure>;
    /// Removes what all clients have left behind, if this is the last of them.
    async fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// How many contend, and over how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) connections: u32,
    pub(super) tasks_each: u32,
    /// Whether all contend for one lock; else each has its own.
    pub(super) one_lock: bool,
}

impl Shape {
    pub(super) fn contenders(self) -> u32 {
        self.connections * self.tasks_each
    }

    /// The number of the lock of this contender.
    pub(super) fn lock_of(self, contender: u32) -> u32 {
        if self.one_lock { 0 } else { contender }
    }
}

/// Contends with nothing but the two requests.
pub(super) struct Bare {
    /// None where there is no service to ask.
    client: Option<Box<dyn Client>>,
    /// Counts the grants.
    lock: Arc<Mutex<u64>>,
}

impl Contender for Bare {
    async fn turn(&mut self, clock: Clock) -> Result<Turn, Failure> {
        let asked = clock.now();
        self.enter().await?;
        let lock = self.lock.clone();
        let mut grants = lock.lock().await;
        let granted = clock.now();
        self.leave().await?;
        *grants += 1;
        let token = *grants;
        drop(grants);
        Ok(Turn { token, weight: UNBOUNDED, asked, granted, finished: clock.now() })
    }
}

impl Bare {
    pub(super) async fn enter(&mut self) -> Result<(), Failure> {
        match &mut self.client {
            Some(client) => client.enter().await,
            None => Ok(()),
        }
    }

    pub(super) async fn leave(&mut self) -> Result<(), Failure> {
        match &mut self.client {
            Some(client) => client.leave().await,
            None => Ok(()),
        }
    }

    pub(super) async fn end(mut self) -> Result<(), Failure> {
        match &mut self.client {
            Some(client) => client.end().await,
            None => Ok(()),
        }
    }
}

/// The contenders at this place; `None` where the floor is not known.
pub(super) async fn contenders(url: &LockUrl, shape: Shape) -> Result<Option<Vec<Bare>>, Failure> {
    let Some(clients) = clients(url, shape).await? else { return Ok(None) };
    let locks: Vec<Arc<Mutex<u64>>> = (0..shape.contenders()).map(|_| Arc::default()).collect();
    let bare = |(client, contender)| Bare { client, lock: locks[shape.lock_of(contender) as usize].clone() };
    Ok(Some(clients.into_iter().zip(0..).map(bare).collect()))
}

type Clients = Vec<Option<Box<dyn Client>>>;

async fn clients(url: &LockUrl, shape: Shape) -> Result<Option<Clients>, Failure> {
    let clients = match url.scheme() {
        "memory" => return Ok(Some((0..shape.contenders()).map(|_| None).collect())),
        "file" => match file::clients(url, shape) {
            Some(clients) => clients,
            None => return Ok(None),
        },
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::clients(url, shape).await?,
        #[cfg(feature = "redis")]
        "redis" => redis::clients(url, shape).await?,
        #[cfg(feature = "etcd")]
        "etcd" => etcd::clients(url, shape).await?,
        "zookeeper" => zookeeper::clients(url, shape).await?,
        _ => return Ok(None),
    };
    Ok(Some(clients.into_iter().map(Some).collect()))
}

/// What went wrong in a request of the floor.
fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(UNREACHABLE, format!("the floor: {error}"))
}
