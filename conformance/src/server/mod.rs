//! Real servers for the suite: started on free loopback ports in temporary directories, and never left behind.

mod control;
mod etcd;
mod mortal;
mod pgbouncer;
mod postgres;
mod postgres_pair;
mod postgres_user;
mod process;
mod redis;
mod zookeeper;

pub use control::Server;
pub use etcd::{Etcd, EtcdCluster};
pub use mortal::ServerKind;
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, ServerClock};
pub use postgres_pair::PostgresPair;
pub use redis::{Redis, RedisCluster, RedisSentinel};
pub use zookeeper::{Ensemble, ZooKeeper};

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Ports for servers. They lie below those that Linux gives to outgoing connections, or the port of a server
/// that is down for a while could be taken by a client: even by the one that tries to connect to it.
const PORTS: Range<u16> = 20_000..32_000;

/// Ports on which nobody listens now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut listeners = Vec::new();
    while listeners.len() < count {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, rand::random_range(PORTS))) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
