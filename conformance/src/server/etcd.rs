//! etcd from Debian's package, alone or as a cluster of three.

use std::env;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{FutureExt, select_all, try_join_all};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::free_ports;
use super::process::Process;

const VARIABLE: &str = "FAIRLOCK_TEST_ETCD";
const NOT_INSTALLED: &str = "etcd is not installed: run scripts/install-servers";

/// How long a server may take to start, or a cluster to elect its leader.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to tell about itself.
const ANSWER: Duration = Duration::from_secs(2);
/// How long to wait between two looks at a server.
const POLL: Duration = Duration::from_millis(20);
/// How often to try other ports when somebody took ours before the server did.
const ATTEMPTS: usize = 4;
/// Each server listens for clients, for its peers, and for questions about itself.
const PORTS_EACH: usize = 3;

/// One etcd server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Etcd {
    address: String,
    node: Option<Node>,
}

/// A server that we started ourselves. The process goes before its directory does.
#[derive(Debug)]
struct Node {
    process: Mutex<Option<Process>>,
    arguments: Vec<String>,
    /// Where it tells about itself, without TLS and passwords.
    metrics: String,
    directory: TempDir,
}

impl Etcd {
    /// Starts a server on a free loopback port, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If etcd is not installed, or does not start; then with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Self::start_with("http", &[]).await
    }

    /// Starts a server that speaks TLS with clients, and only with those that have a certificate of the same
    /// authority. The paths are those of PEM files.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_tls(authority: &Path, certificate: &Path, key: &Path) -> io::Result<Self> {
        let argument = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let arguments = [
            argument("trusted-ca-file", authority),
            argument("cert-file", certificate),
            argument("key-file", key),
            "--client-cert-auth".to_owned(),
        ];
        Self::start_with("https", &arguments).await
    }

    /// Starts a server with these arguments in addition, such as `--auth-token-ttl=1`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_arguments(arguments: &[String]) -> io::Result<Self> {
        Self::start_with("http", arguments).await
    }

    async fn start_with(scheme: &str, arguments: &[String]) -> io::Result<Self> {
        Ok(start_nodes(1, scheme, arguments).await?.remove(0))
    }

    /// The server at the `host:port` in the environment variable `FAIRLOCK_TEST_ETCD`, which can be neither
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
        match env::var(VARIABLE) {
            Ok(address) if !address.is_empty() => Ok(Self { address, node: None }),
            _ => Self::start().await,
        }
    }

    /// Where clients connect to: `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills the server with SIGKILL. Its data stays.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours.
    pub fn kill(&self) -> io::Result<()> {
        drop(self.process()?.take());
        Ok(())
    }

    /// Starts the server again, on the same port with the same data, and waits until it serves. A node of a
    /// cluster serves only beside another: start the nodes of one that is all down together.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; else as [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// The server may be down or up.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill()?;
        self.spawn()?;
        match timeout(START, self.poll_for_health()).await {
            Ok(result) => result,
            Err(_) => {
                let what = format!("{} does not serve within {START:?}", self.address);
                Err(self.process()?.as_ref().map_or_else(not_running, |process| process.failure(&what)))
            }
        }
    }

    /// Stops the server with SIGSTOP: its connections stay open, and it answers nothing.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; an error if it does not run.
    pub fn pause(&self) -> io::Result<()> {
        self.process()?.as_mut().ok_or_else(not_running)?.pause()
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; an error if it does not run.
    pub fn resume(&self) -> io::Result<()> {
        self.process()?.as_mut().ok_or_else(not_running)?.resume()
    }

    /// The value of one of the server's metrics, such as `etcd_server_is_leader`.
    ///
    /// # Errors
    ///
    /// If the server is not ours, cannot be reached, does not answer within two seconds or has no such metric.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn metric(&self, name: &str) -> io::Result<f64> {
        let answer = self.ask("/metrics").await?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| io::Error::other(format!("{} has no metric {name}", self.address)))
    }

    /// What the server says about itself at this path.
    async fn ask(&self, path: &str) -> io::Result<String> {
        let metrics = &self.node()?.metrics;
        let ask = async {
            let mut stream = TcpStream::connect(metrics).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(ANSWER, ask).await?
    }

    fn node(&self) -> io::Result<&Node> {
        self.node.as_ref().ok_or_else(|| {
            let message = format!("the server at {} is given by {VARIABLE}, not ours to stop", self.address);
            io::Error::new(io::ErrorKind::Unsupported, message)
        })
    }

    fn process(&self) -> io::Result<MutexGuard<'_, Option<Process>>> {
        Ok(self.node()?.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spawn(&self) -> io::Result<()> {
        let Node { arguments, directory, .. } = self.node()?;
        let process = Process::spawn("etcd", arguments, &directory.path().join("log"))?;
        *self.process()? = Some(process);
        Ok(())
    }

    /// Waits, without end, until the server executes requests.
    async fn poll_for_health(&self) -> io::Result<()> {
        loop {
            self.process()?.as_mut().ok_or_else(not_running)?.check()?;
            if self.ask("/health").await.is_ok_and(|answer| answer.contains(r#""health":"true""#)) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Waits, without end, until the server leads.
    async fn until_leader(&self) {
        while !self.metric("etcd_server_is_leader").await.is_ok_and(|leads| leads > 0.0) {
            sleep(POLL).await;
        }
    }
}

/// Three etcd servers that replicate to one another.
#[derive(Debug)]
pub struct EtcdCluster {
    nodes: Vec<Etcd>,
}

impl EtcdCluster {
    /// Starts three servers, and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// As [`Etcd::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Ok(Self { nodes: start_nodes(3, "http", &[]).await? })
    }

    /// The servers.
    pub fn nodes(&self) -> &[Etcd] {
        &self.nodes
    }

    /// Where clients connect to: a `host:port` for each server.
    pub fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(Etcd::address).collect()
    }

    /// The index of the server that leads; waits for an election.
    ///
    /// # Errors
    ///
    /// If there is none for a minute.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn leader(&self) -> io::Result<usize> {
        let leaders = self.nodes.iter().map(|node| node.until_leader().boxed());
        Ok(timeout(START, select_all(leaders)).await?.1)
    }
}

async fn start_nodes(count: usize, scheme: &str, arguments: &[String]) -> io::Result<Vec<Etcd>> {
    check_installed()?;
    let mut attempt = 1;
    loop {
        match start_on_free_ports(count, scheme, arguments).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn start_on_free_ports(count: usize, scheme: &str, arguments: &[String]) -> io::Result<Vec<Etcd>> {
    let ports = free_ports(PORTS_EACH * count)?;
    let ports: Vec<&[u16]> = ports.chunks(PORTS_EACH).collect();
    let peer = |(index, ports): (usize, &&[u16])| format!("n{index}=http://127.0.0.1:{}", ports[1]);
    let members = ports.iter().enumerate().map(peer).collect::<Vec<_>>().join(",");
    let node = |(index, ports): (usize, &&[u16])| node(index, ports, scheme, &members, arguments);
    let nodes = ports.iter().enumerate().map(node).collect::<io::Result<Vec<_>>>()?;
    try_join_all(nodes.iter().map(Etcd::restart)).await?;
    Ok(nodes)
}

/// Prepares a server.
fn node(
    index: usize,
    ports: &[u16],
    scheme: &str,
    members: &str,
    more_arguments: &[String],
) -> io::Result<Etcd> {
    let directory = tempfile::Builder::new().prefix("fairlock-etcd-").tempdir()?;
    let [client, peer, metrics] = [ports[0], ports[1], ports[2]].map(|port| format!("127.0.0.1:{port}"));
    let mut arguments = vec![
        format!("--name=n{index}"),
        format!("--data-dir={}", directory.path().join("data").display()),
        format!("--listen-client-urls={scheme}://{client}"),
        format!("--advertise-client-urls={scheme}://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster={members}"),
        format!("--listen-metrics-urls=http://{metrics}"),
        "--logger=zap".to_owned(),
        "--log-level=error".to_owned(),
    ];
    arguments.extend_from_slice(more_arguments);
    let node = Node { process: Mutex::default(), arguments, metrics, directory };
    Ok(Etcd { address: client, node: Some(node) })
}

fn check_installed() -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |program| env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if on_path("etcd") && on_path("setpriv") {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, NOT_INSTALLED))
    }
}

fn not_running() -> io::Error {
    io::Error::other("the server does not run")
}
