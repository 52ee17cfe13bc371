//! ZooKeeper from Debian's packages, alone or as an ensemble of three.

use std::env;
use std::fmt::Write;
use std::fs;
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

const VARIABLE: &str = "FAIRLOCK_TEST_ZOOKEEPER";
const NOT_INSTALLED: &str = "ZooKeeper is not installed: run scripts/install-servers";
const JARS: [&str; 2] = ["/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"];

/// How long a server may take to start, or an ensemble to elect its leader.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to answer a four-letter word.
const ANSWER: Duration = Duration::from_secs(2);
/// How long to wait between two looks at a server.
const POLL: Duration = Duration::from_millis(20);
/// How often to try other ports when somebody took ours before the server did.
const ATTEMPTS: usize = 4;

/// One ZooKeeper server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct ZooKeeper {
    address: String,
    node: Option<Node>,
}

/// A server that we started ourselves. The process goes before its directory does.
#[derive(Debug)]
struct Node {
    process: Mutex<Option<Process>>,
    directory: TempDir,
}

impl ZooKeeper {
    /// Starts a server on a free loopback port, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If ZooKeeper is not installed, or does not start; then with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Ok(start_nodes(1).await?.remove(0))
    }

    /// The server at the `host:port` in the environment variable `FAIRLOCK_TEST_ZOOKEEPER`, which can be
    /// neither killed nor paused; where that is not set, a [new one](Self::start).
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

    /// Starts the server again, on the same port with the same data, and waits until it serves. A node of an
    /// ensemble serves only beside another: start the nodes of one that is all down together.
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
        self.wait_for("Mode: ").await
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

    /// What the server answers to one of ZooKeeper's four-letter words: `ruok`, `srvr`, `mntr`, `wchs`, …
    ///
    /// # Errors
    ///
    /// If it cannot be reached, or does not answer within two seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn four_letter(&self, word: &str) -> io::Result<String> {
        let ask = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(word.as_bytes()).await?;
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
        let directory = self.node()?.directory.path();
        let process = Process::spawn("java", &java_arguments(directory), &directory.join("log"))?;
        *self.process()? = Some(process);
        Ok(())
    }

    /// Waits until the server's `srvr` says this.
    async fn wait_for(&self, text: &str) -> io::Result<()> {
        match timeout(START, self.poll_for(text)).await {
            Ok(result) => result,
            Err(_) => {
                let what = format!("{} does not say {text:?} within {START:?}", self.address);
                Err(self.process()?.as_ref().map_or_else(not_running, |process| process.failure(&what)))
            }
        }
    }

    async fn poll_for(&self, text: &str) -> io::Result<()> {
        loop {
            self.process()?.as_mut().ok_or_else(not_running)?.check()?;
            if self.four_letter("srvr").await.is_ok_and(|answer| answer.contains(text)) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Waits, without end, until the server leads.
    async fn until_leader(&self) {
        while !self.four_letter("srvr").await.is_ok_and(|answer| answer.contains("Mode: leader")) {
            sleep(POLL).await;
        }
    }
}

/// Three ZooKeeper servers that replicate to one another.
#[derive(Debug)]
pub struct Ensemble {
    nodes: Vec<ZooKeeper>,
}

impl Ensemble {
    /// Starts three servers, and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// As [`ZooKeeper::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start() -> io::Result<Self> {
        Ok(Self { nodes: start_nodes(3).await? })
    }

    /// The servers.
    pub fn nodes(&self) -> &[ZooKeeper] {
        &self.nodes
    }

    /// Where clients connect to: a `host:port` for each server.
    pub fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(ZooKeeper::address).collect()
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

async fn start_nodes(count: usize) -> io::Result<Vec<ZooKeeper>> {
    check_installed()?;
    let mut attempt = 1;
    loop {
        match start_on_free_ports(count).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn start_on_free_ports(count: usize) -> io::Result<Vec<ZooKeeper>> {
    let ports = free_ports(3 * count)?;
    let members = members(&ports[count..]);
    let nodes = (1..=count).map(|id| node(id, ports[id - 1], &members)).collect::<io::Result<Vec<_>>>()?;
    try_join_all(nodes.iter().map(ZooKeeper::restart)).await?;
    Ok(nodes)
}

/// The lines that name the servers of an ensemble, from two ports for each; none for a single server.
fn members(ports: &[u16]) -> String {
    let mut lines = String::new();
    if ports.len() > 2 {
        for (index, pair) in ports.chunks(2).enumerate() {
            let _ = writeln!(lines, "server.{}=127.0.0.1:{}:{}", index + 1, pair[0], pair[1]);
        }
    }
    lines
}

/// Prepares the directory of a server.
fn node(id: usize, port: u16, members: &str) -> io::Result<ZooKeeper> {
    let directory = tempfile::Builder::new().prefix("fairlock-zookeeper-").tempdir()?;
    fs::write(directory.path().join("myid"), id.to_string())?;
    fs::write(directory.path().join("zoo.cfg"), config(directory.path(), port, members))?;
    let node = Node { process: Mutex::default(), directory };
    Ok(ZooKeeper { address: format!("127.0.0.1:{port}"), node: Some(node) })
}

/// `forceSync=no` saves time and loses nothing here: what a killed process has written stays in the kernel.
/// `initLimit` is short because a new leader may wait that long for nothing, several times over
/// (<https://issues.apache.org/jira/browse/ZOOKEEPER-4685>).
fn config(directory: &Path, port: u16, members: &str) -> String {
    format!(
        "dataDir={}\n\
         clientPort={port}\n\
         clientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\n\
         tickTime=500\n\
         minSessionTimeout=1000\n\
         initLimit=5\n\
         syncLimit=5\n\
         forceSync=no\n\
         admin.enableServer=false\n\
         4lw.commands.whitelist=*\n\
         extendedTypesEnabled=true\n\
         {members}",
        directory.display()
    )
}

/// The first four make a short-lived Java start sooner; a container node goes within a second of its last child.
fn java_arguments(directory: &Path) -> Vec<String> {
    let config = directory.join("zoo.cfg").display().to_string();
    [
        "-Xmx256m",
        "-Xshare:auto",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dznode.container.checkIntervalMs=1000",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp",
        &JARS.join(":"),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        &config,
    ]
    .map(str::to_owned)
    .into()
}

fn check_installed() -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |program| env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let installed = on_path("java") && on_path("setpriv") && JARS.iter().all(|jar| Path::new(jar).is_file());
    if installed { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotFound, NOT_INSTALLED)) }
}

fn not_running() -> io::Error {
    io::Error::other("the server does not run")
}
