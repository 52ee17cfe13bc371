//! Servers of our own, and what can be done to them.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::server::{Ensemble, Etcd, EtcdCluster, Redis, Server, ZooKeeper};

/// The servers under test, if they are ours to break.
#[async_trait(?Send)]
pub trait Nodes: Debug {
    /// The URL of the locks, with the addresses of all servers.
    fn url(&self) -> String;

    /// What can be done to them.
    fn faults(&self) -> &'static [&'static str];

    /// Does it, to the server with this number, and undoes it after a while.
    async fn inflict(&self, fault: &str, node: usize, lasts: Duration) -> io::Result<()>;
}

/// Starts servers of this kind: `zookeeper`, `etcd` or `redis`; one or three.
///
/// # Errors
///
/// If they are not installed or do not start, or there is no such kind, or not in that number.
///
/// # Cancel safety
///
/// Dropping the future kills what it has started.
pub async fn start(kind: &str, count: usize) -> io::Result<Box<dyn Nodes>> {
    Ok(match (kind, count) {
        ("zookeeper", 1) => Box::new(vec![ZooKeeper::start().await?]),
        ("zookeeper", 3) => Box::new(Ensemble::start().await?),
        ("etcd", 1) => Box::new(vec![Etcd::start().await?]),
        ("etcd", 3) => Box::new(EtcdCluster::start().await?),
        ("redis", 1) => Box::new(Redis::start().await?),
        _ => {
            let message =
                format!("{count} {kind} servers cannot be had: zookeeper or etcd, 1 or 3, or 1 redis");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    })
}

const ONE: &[&str] = &["pause", "kill"];
const THREE: &[&str] = &["pause", "pause leader", "kill", "kill leader", "restart all in turn"];

/// What all servers know.
async fn stop(fault: &str, server: &Server, lasts: Duration) -> io::Result<bool> {
    if fault.starts_with("pause") {
        server.pause()?;
        sleep(lasts).await;
        server.resume()?;
        return Ok(true);
    }
    server.kill()?;
    sleep(lasts).await;
    Ok(false)
}

fn addresses(servers: &[&Server]) -> String {
    servers.iter().map(|server| server.address()).collect::<Vec<_>>().join(",")
}

macro_rules! nodes {
    ($of:ty, $scheme:literal, $faults:expr, |$cluster:ident| $nodes:expr, $leader:expr, $special:expr) => {
        #[async_trait(?Send)]
        impl Nodes for $of {
            fn url(&self) -> String {
                let $cluster = self;
                let servers: Vec<&Server> = $nodes.iter().map(|node| &**node).collect();
                format!(concat!($scheme, "://{}/chaos?session_timeout=4s"), addresses(&servers))
            }

            fn faults(&self) -> &'static [&'static str] {
                $faults
            }

            async fn inflict(&self, fault: &str, node: usize, lasts: Duration) -> io::Result<()> {
                let $cluster = self;
                let nodes = &$nodes;
                if $special(&nodes[node % nodes.len()], fault).await? {
                    return Ok(());
                }
                let all = if fault == "restart all in turn" { 0..nodes.len() } else { node..node + 1 };
                for node in all {
                    let leads = fault.ends_with("leader");
                    let node = if leads { $leader(self).await? } else { node % nodes.len() };
                    if !stop(fault, &nodes[node], lasts).await? {
                        nodes[node].restart().await?;
                    }
                }
                Ok(())
            }
        }
    };
}

async fn nothing<T: Sync>(_: &T, _: &str) -> io::Result<bool> {
    Ok(false)
}

async fn alone<T: Sync>(_: &T) -> io::Result<usize> {
    Ok(0)
}

nodes!(Vec<ZooKeeper>, "zookeeper", ONE, |nodes| nodes, alone, nothing);
nodes!(Ensemble, "zookeeper", THREE, |ensemble| ensemble.nodes(), Ensemble::leader, nothing);

const ONE_ETCD: &[&str] = &["pause", "kill", "compact", "defragment"];
const THREE_ETCD: &[&str] =
    &["pause", "pause leader", "kill", "kill leader", "restart all in turn", "compact", "defragment"];

nodes!(Vec<Etcd>, "etcd", ONE_ETCD, |nodes| nodes, alone, maintain);
nodes!(EtcdCluster, "etcd", THREE_ETCD, |cluster| cluster.nodes(), EtcdCluster::leader, maintain);

/// Compacts or defragments, through etcd's JSON gateway.
async fn maintain(node: &Etcd, fault: &str) -> io::Result<bool> {
    match fault {
        "compact" => {
            // The key need not be there.
            let said = post(node.address(), "/v3/kv/range", r#"{"key":"YQ=="}"#).await?;
            let revision = said.split(r#""revision":""#).nth(1).and_then(|rest| rest.split('"').next());
            let body = format!(r#"{{"revision":"{}","physical":true}}"#, revision.unwrap_or("1"));
            post(node.address(), "/v3/kv/compaction", &body).await?;
        }
        "defragment" => drop(post(node.address(), "/v3/maintenance/defragment", "{}").await?),
        _ => return Ok(false),
    }
    Ok(true)
}

async fn post(address: &str, path: &str, body: &str) -> io::Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let request = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(Duration::from_secs(5), ask).await?
}

#[async_trait(?Send)]
impl Nodes for Redis {
    fn url(&self) -> String {
        format!("redis://{}/?prefix=chaos:&session_timeout=4s", self.address())
    }

    /// Not its death: a memory that is lost loses locks, which is documented.
    fn faults(&self) -> &'static [&'static str] {
        &["pause", "pause clients", "pause writes", "kill connections", "kill subscriptions", "flush scripts"]
    }

    async fn inflict(&self, fault: &str, _node: usize, lasts: Duration) -> io::Result<()> {
        let milliseconds = lasts.as_millis().to_string();
        let command: &[&str] = match fault {
            "pause" => return stop(fault, self, lasts).await.map(|_| ()),
            "pause clients" => &["client", "pause", &milliseconds, "all"],
            "pause writes" => &["client", "pause", &milliseconds, "write"],
            "kill connections" => &["client", "kill", "type", "normal"],
            "kill subscriptions" => &["client", "kill", "type", "pubsub"],
            _ => &["script", "flush"],
        };
        self.cli(command).await?;
        if command[1] == "pause" {
            sleep(lasts).await;
        }
        Ok(())
    }
}
