//! etcd from Debian's package, alone or as a cluster of three.

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{FutureExt, select_all, try_join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::control::{POLL, START, Server, check_installed, directory, on_free_ports};

const VARIABLE: &str = "FAIRLOCK_TEST_ETCD";

/// How long a server may take to tell about itself.
const ANSWER: Duration = Duration::from_secs(2);
/// Each server listens for clients, for its peers, and for questions about itself.
const PORTS_EACH: usize = 3;

/// One etcd server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Etcd {
    server: Server,
    /// Where it tells about itself, without TLS and passwords; of a given server that is not known.
    metrics: Option<String>,
}

impl Deref for Etcd {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
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
    /// authority. The paths are those of PEM files: of the authority, the certificate and its key.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_tls([authority, certificate, key]: [PathBuf; 3]) -> io::Result<Self> {
        let argument = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
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
        match Server::given(VARIABLE) {
            Some(server) => Ok(Self { server, metrics: None }),
            None => Self::start().await,
        }
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
        self.spawn()?;
        let healthy =
            async || self.ask("/health").await.is_ok_and(|said| said.contains(r#""health":"true""#));
        self.wait_until("serve", healthy).await
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
        value.ok_or_else(|| io::Error::other(format!("{} has no metric {name}", self.address())))
    }

    /// What the server says about itself at this path.
    async fn ask(&self, path: &str) -> io::Result<String> {
        let unknown =
            || io::Error::new(io::ErrorKind::Unsupported, "where a given server has metrics is not known");
        let metrics = self.metrics.as_ref().ok_or_else(unknown)?;
        let ask = async {
            let mut stream = TcpStream::connect(metrics).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(ANSWER, ask).await?
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
        Self::start_with_arguments(&[]).await
    }

    /// Starts three servers with these arguments in addition.
    ///
    /// # Errors
    ///
    /// As [`Etcd::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_with_arguments(arguments: &[String]) -> io::Result<Self> {
        Ok(Self { nodes: start_nodes(3, "http", arguments).await? })
    }

    /// The servers.
    pub fn nodes(&self) -> &[Etcd] {
        &self.nodes
    }

    /// Where clients connect to: a `host:port` for each server.
    pub fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.address()).collect()
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
    check_installed("etcd", &["etcd"])?;
    on_free_ports(PORTS_EACH * count, async |ports| start_on(&ports, scheme, arguments).await).await
}

async fn start_on(ports: &[u16], scheme: &str, arguments: &[String]) -> io::Result<Vec<Etcd>> {
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
    let directory = directory("etcd")?;
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
    Ok(Etcd { server: Server::own(client, "etcd", arguments, directory), metrics: Some(metrics) })
}
