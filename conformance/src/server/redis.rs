//! Redis from Debian's packages: alone, as a master with a replica under a sentinel, or as a cluster of three.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures::future::{select_ok, try_join_all};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::control::{START, Server, check_installed, directory, on_free_ports};

const VARIABLE: &str = "FAIRLOCK_TEST_REDIS";

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The name under which a sentinel knows its master.
const MASTER: &str = "main";

/// One Redis server, without persistence. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Redis {
    /// Starts a server on a free loopback port, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If Redis is not installed, or does not start; then with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Self::start_with_arguments(&[]).await
    }

    /// Starts a server with these arguments in addition, such as `--requirepass` and a password.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_arguments(arguments: &[&str]) -> io::Result<Self> {
        start_on_free_ports(1, async |ports| Self::start_on(ports[0], arguments).await).await
    }

    /// Starts a server that speaks TLS, and only with clients that have a certificate of the same authority. The paths are those of
    /// PEM files: of the authority, the certificate and its key.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_tls(files: [PathBuf; 3]) -> io::Result<Self> {
        let [authority, certificate, key] = files.map(|path| path.display().to_string());
        start_on_free_ports(2, async |ports| {
            let [tls_port, port] = [ports[0], ports[1]].map(|port| port.to_string());
            let arguments = [
                // For `redis-cli`, whatever the certificates are.
                ["--port", &port],
                ["--tls-port", &tls_port],
                ["--tls-ca-cert-file", &authority],
                ["--tls-cert-file", &certificate],
                ["--tls-key-file", &key],
                ["--tls-auth-clients", "yes"],
            ];
            Self::start_on(ports[0], arguments.as_flattened()).await
        })
        .await
    }

    async fn start_on(port: u16, arguments: &[&str]) -> io::Result<Self> {
        let server = Self::prepare(port, arguments)?;
        server.restart().await?;
        Ok(server)
    }

    fn prepare(port: u16, arguments: &[&str]) -> io::Result<Self> {
        let directory = directory("redis")?;
        let (path, port) = (directory.path().display().to_string(), port.to_string());
        let common = [
            ["--port", &port],
            ["--bind", "127.0.0.1"],
            ["--dir", &path],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--enable-debug-command", "local"],
        ];
        let arguments =
            common.as_flattened().iter().chain(arguments).map(|part| (*part).to_owned()).collect();
        Ok(redis(&port, arguments, directory))
    }

    /// The server at the `host:port` in the environment variable `FAIRLOCK_TEST_REDIS`, which can be neither
    /// killed nor paused; where that is not set, a [new one](Self::start).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn given_or_start() -> io::Result<Self> {
        match Server::given(VARIABLE) {
            Some(server) => Ok(Self { server }),
            None => Self::start().await,
        }
    }

    /// Starts the server again, on the same port with an empty memory, and waits until it serves.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; else as [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// The server may be down or up.
    pub async fn restart(&self) -> io::Result<()> {
        self.spawn()?;
        self.until_it_says(&["ping"], &["PONG", "NOAUTH"]).await
    }

    /// What `redis-cli` prints when it is called with these arguments.
    ///
    /// # Errors
    ///
    /// If it fails, or takes longer than five seconds.
    ///
    /// # Cancel safety
    ///
    /// The server may have executed the command or not.
    pub async fn cli(&self, arguments: &[&str]) -> io::Result<String> {
        let (host, port) = self.address().rsplit_once(':').unwrap_or((self.address(), "6379"));
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", self.argument("--port").unwrap_or(port)]);
        if let Some(password) = self.argument("--requirepass") {
            command.args(["--no-auth-warning", "-a", password]);
        }
        command.args(arguments);
        let output = timeout(ANSWER, command.stdin(Stdio::null()).kill_on_drop(true).output()).await??;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        match output.status.success() {
            true => Ok(said[0].trim_end().to_owned()),
            false => Err(io::Error::other(said.concat())),
        }
    }

    /// What it was started with under this name; the last counts.
    fn argument(&self, name: &str) -> Option<&str> {
        let position = self.arguments().iter().rposition(|part| part == name)?;
        self.arguments().get(position + 1).map(String::as_str)
    }

    /// Waits until what `redis-cli` prints contains one of these.
    async fn until_it_says(&self, arguments: &[&str], wanted: &[&str]) -> io::Result<()> {
        let says = async || {
            let said = self.cli(arguments).await.unwrap_or_default();
            wanted.iter().any(|wanted| said.contains(wanted))
        };
        self.wait_until(&format!("say {wanted:?}"), says).await
    }
}

/// A master and a replica, watched by one sentinel.
#[derive(Debug)]
pub struct RedisSentinel {
    sentinel: Redis,
    nodes: [Redis; 2],
}

impl RedisSentinel {
    /// Starts all three, and waits until the replica is in step and the sentinel knows of it.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        start_on_free_ports(3, async |ports| {
            let master_port = ports[0].to_string();
            let master = Redis::start_on(ports[0], &["--repl-diskless-sync-delay", "0"]).await?;
            let replica = Redis::start_on(ports[1], &["--replicaof", "127.0.0.1", &master_port]).await?;
            replica.until_it_says(&["info", "replication"], &["master_link_status:up"]).await?;
            let sentinel = sentinel(ports[2], ports[0])?;
            sentinel.restart().await?;
            sentinel.until_it_says(&["sentinel", "replicas", MASTER], &["slave-repl-offset"]).await?;
            Ok(Self { sentinel, nodes: [master, replica] })
        })
        .await
    }

    /// Where clients ask for the master called [`name`](Self::name): `host:port`.
    pub fn address(&self) -> &str {
        self.sentinel.address()
    }

    /// The sentinel itself.
    pub fn sentinel(&self) -> &Redis {
        &self.sentinel
    }

    /// The name of the master.
    pub fn name(&self) -> &str {
        MASTER
    }

    /// The two servers; the first one is the master before any failover.
    pub fn nodes(&self) -> &[Redis; 2] {
        &self.nodes
    }

    /// Waits until the sentinel names the second server.
    ///
    /// # Errors
    ///
    /// If it does not for a minute.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn until_failed_over(&self) -> io::Result<()> {
        let port = self.nodes[1].address().rsplit(':').next().unwrap_or_default();
        self.sentinel.until_it_says(&["sentinel", "get-master-addr-by-name", MASTER], &[port]).await?;
        self.nodes[1].until_it_says(&["role"], &["master"]).await
    }
}

/// A sentinel keeps what it learns in its file.
fn sentinel(port: u16, master: u16) -> io::Result<Redis> {
    let directory = directory("redis")?;
    let file = directory.path().join("sentinel.conf");
    let config = format!(
        "port {port}\n\
         bind 127.0.0.1\n\
         dir {}\n\
         sentinel monitor {MASTER} 127.0.0.1 {master} 1\n\
         sentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 5000\n",
        directory.path().display()
    );
    fs::write(&file, config)?;
    let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
    Ok(redis(&port.to_string(), arguments, directory))
}

fn redis(port: &str, arguments: Vec<String>, directory: TempDir) -> Redis {
    Redis { server: Server::own(format!("127.0.0.1:{port}"), "redis-server", arguments, directory) }
}

/// Three masters that share the hash slots.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three servers, and waits until they serve as a cluster.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        start_on_free_ports(6, async |ports| {
            let nodes = ports[..3].iter().zip(&ports[3..]).map(async |(port, bus)| node(*port, *bus).await);
            let nodes = try_join_all(nodes).await?;
            let create = [&["--cluster", "create"], &*addresses(&nodes), &["--cluster-yes"]].concat();
            let mut command = Command::new("redis-cli");
            let output = command.args(&create).stdin(Stdio::null()).kill_on_drop(true).output();
            let output = timeout(START, output).await??;
            if !output.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&output.stdout).into_owned()));
            }
            for node in &nodes {
                node.until_it_says(&["cluster", "info"], &["cluster_state:ok"]).await?;
            }
            Ok(Self { nodes })
        })
        .await
    }

    /// Starts one more server that belongs to the cluster and has no slots, and waits until all know of it.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started; the cluster may know of it then.
    pub async fn join(&self) -> io::Result<Redis> {
        start_on_free_ports(2, async |ports| {
            let (joining, bus) = (node(ports[0], ports[1]).await?, ports[1].to_string());
            let (host, port) = joining.address().rsplit_once(':').unwrap_or_default();
            self.nodes[0].cli(&["cluster", "meet", host, port, &bus]).await?;
            for server in self.nodes.iter().chain([&joining]) {
                server.until_it_says(&["cluster", "info"], &["cluster_known_nodes:4"]).await?;
                server.until_it_says(&["cluster", "info"], &["cluster_state:ok"]).await?;
            }
            Ok(joining)
        })
        .await
    }

    /// The servers.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Where clients connect to: a `host:port` for each server.
    pub fn addresses(&self) -> Vec<&str> {
        addresses(&self.nodes)
    }

    /// The server that has this key.
    ///
    /// # Errors
    ///
    /// If none can be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn node_of(&self, key: &str) -> io::Result<&Redis> {
        let asked = self.nodes.iter().map(|node| {
            Box::pin(async move {
                match node.cli(&["exists", key]).await? {
                    moved if moved.starts_with("MOVED") => Err(io::Error::other(moved)),
                    _ => Ok(node),
                }
            })
        });
        select_ok(asked).await.map(|(node, _)| node)
    }
}

/// A server that may be in a cluster.
async fn node(port: u16, bus: u16) -> io::Result<Redis> {
    let bus = bus.to_string();
    let arguments = [
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus],
        ["--cluster-node-timeout", "2000"],
        // Or a master that gives away its last slot becomes a replica.
        ["--cluster-allow-replica-migration", "no"],
    ];
    Redis::start_on(port, arguments.as_flattened()).await
}

fn addresses(nodes: &[Redis]) -> Vec<&str> {
    nodes.iter().map(|node| node.address()).collect()
}

async fn start_on_free_ports<T>(
    count: usize,
    start: impl AsyncFn(Vec<u16>) -> io::Result<T>,
) -> io::Result<T> {
    check_installed("Redis", &["redis-server", "redis-cli"])?;
    on_free_ports(count, start).await
}
