//! Servers for trials that kill them.

use std::io;

use async_trait::async_trait;

use super::{Etcd, Postgres, Redis, ZooKeeper};
use crate::fixture::{Mortal, Servers};

/// Which servers to start for the trials that kill them.
#[derive(Debug, Clone, Copy)]
pub enum ServerKind {
    /// [`ZooKeeper`].
    ZooKeeper,
    /// [`Etcd`].
    Etcd,
    /// [`Redis`].
    Redis,
    /// [`Postgres`].
    Postgres,
}

#[async_trait(?Send)]
impl Servers for ServerKind {
    async fn start(&self) -> io::Result<Box<dyn Mortal>> {
        Ok(match self {
            ServerKind::ZooKeeper => Box::new(ZooKeeper::start().await?),
            ServerKind::Etcd => Box::new(Etcd::start().await?),
            ServerKind::Redis => Box::new(Redis::start().await?),
            ServerKind::Postgres => Box::new(Postgres::start().await?),
        })
    }
}

macro_rules! mortal {
    ($($server:ty),+) => {$(
        #[async_trait(?Send)]
        impl Mortal for $server {
            fn address(&self) -> &str {
                (**self).address()
            }

            fn kill(&self) -> io::Result<()> {
                (**self).kill()
            }

            async fn restart(&self) -> io::Result<()> {
                self.restart().await
            }
        }
    )+};
}

mortal!(ZooKeeper, Etcd, Redis);

#[async_trait(?Send)]
impl Mortal for Postgres {
    fn address(&self) -> &str {
        (**self).address()
    }

    /// All of its processes.
    fn kill(&self) -> io::Result<()> {
        Postgres::kill(self)
    }

    async fn restart(&self) -> io::Result<()> {
        self.restart().await
    }
}
