//! ZooKeeper from Debian's packages, alone or as an ensemble of three.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{FutureExt, select_all, try_join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::control::{POLL, START, Server, directory, on_free_ports};

const VARIABLE: &str = "FAIRLOCK_TEST_ZOOKEEPER";
/// The last three are for TLS: ZooKeeper's own list of what it needs lacks them.
const JARS: [&str; 5] = [
    "/usr/share/java/zookeeper.jar",
    "/usr/share/java/slf4j-simple.jar",
    "/usr/share/java/netty-codec.jar",
    "/usr/share/java/netty-resolver.jar",
    "/usr/share/java/netty-transport-native-unix-common.jar",
];

/// How long a server may take to answer a four-letter word.
const ANSWER: Duration = Duration::from_secs(2);

/// One ZooKeeper server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct ZooKeeper {
    server: Server,
    /// Where it speaks TLS.
    secure: Option<String>,
}

impl Deref for ZooKeeper {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
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
        Ok(start_nodes(1, &[]).await?.remove(0))
    }

    /// Starts a server that speaks TLS as well, at its [other address](Self::secure_address), with clients that have a certificate of
    /// the same authority. The paths are those of PEM files: of the authority, the certificate and its key.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_tls([authority, certificate, key]: [PathBuf; 3]) -> io::Result<Self> {
        check_installed()?;
        on_free_ports(2, async |ports| {
            let mut server = node(1, ports[0], "", &[])?;
            let both = server.beside_config("keystore.pem")?;
            fs::write(&both, [fs::read(&key)?, fs::read(&certificate)?].concat())?;
            for line in [
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
                format!("secureClientPort={}", ports[1]),
                "secureClientPortAddress=127.0.0.1".to_owned(),
                "ssl.keyStore.type=PEM".to_owned(),
                format!("ssl.keyStore.location={}", both.display()),
                "ssl.trustStore.type=PEM".to_owned(),
                format!("ssl.trustStore.location={}", authority.display()),
            ] {
                server.configure(&line)?;
            }
            server.secure = Some(format!("127.0.0.1:{}", ports[1]));
            server.restart().await?;
            Ok(server)
        })
        .await
    }

    /// Starts a server that knows this user by SASL (DIGEST-MD5), and lets nobody in without.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_sasl(user: &str, password: &str) -> io::Result<Self> {
        check_installed()?;
        on_free_ports(1, async |ports| {
            let users = directory("zookeeper")?;
            let file = users.path().join("jaas.conf");
            let login = "org.apache.zookeeper.server.auth.DigestLoginModule required";
            fs::write(&file, format!("Server {{ {login} user_{user}=\"{password}\"; }};\n"))?;
            let java = [format!("-Djava.security.auth.login.config={}", file.display())];
            let server = node(1, ports[0], "", &java)?;
            server.configure("authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider")?;
            server.configure("sessionRequireClientSASLAuth=true")?;
            server.restart().await?;
            // The server has read its users.
            drop(users);
            Ok(server)
        })
        .await
    }

    /// Where the server speaks TLS, `host:port`; its ordinary address if it does not.
    pub fn secure_address(&self) -> &str {
        self.secure.as_deref().unwrap_or_else(|| self.address())
    }

    fn beside_config(&self, name: &str) -> io::Result<PathBuf> {
        let config = self.arguments().last().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Path::new(config).with_file_name(name))
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
        match Server::given(VARIABLE) {
            Some(server) => Ok(Self { server, secure: None }),
            None => Self::start().await,
        }
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
        self.spawn()?;
        let serves = async || self.four_letter("srvr").await.is_ok_and(|answer| answer.contains("Mode: "));
        self.wait_until("serve", serves).await
    }

    /// Adds a line such as `maxSessionTimeout=4000` to the server's configuration, which overrides earlier ones when
    /// it is started the next time.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the server is not ours; what the file system says.
    pub fn configure(&self, line: &str) -> io::Result<()> {
        let config = self.arguments().last().ok_or(io::ErrorKind::Unsupported)?;
        writeln!(File::options().append(true).open(config)?, "{line}")
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
            let mut stream = TcpStream::connect(self.address()).await?;
            stream.write_all(word.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(ANSWER, ask).await?
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
        Self::start_with(&[]).await
    }

    /// Starts three servers [configured](ZooKeeper::configure) by these lines, and waits until all of them serve.
    ///
    /// # Errors
    ///
    /// As [`ZooKeeper::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start_with(lines: &[&str]) -> io::Result<Self> {
        Ok(Self { nodes: start_nodes(3, lines).await? })
    }

    /// The servers.
    pub fn nodes(&self) -> &[ZooKeeper] {
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

fn check_installed() -> io::Result<()> {
    let [zookeeper, logs, netty, ..] = JARS;
    super::control::check_installed("ZooKeeper", &["java", zookeeper, logs, netty])
}

async fn start_nodes(count: usize, lines: &[&str]) -> io::Result<Vec<ZooKeeper>> {
    check_installed()?;
    on_free_ports(3 * count, async |ports| start_on(count, &ports, lines).await).await
}

async fn start_on(count: usize, ports: &[u16], lines: &[&str]) -> io::Result<Vec<ZooKeeper>> {
    let members = members(&ports[count..]);
    let nodes =
        (1..=count).map(|id| node(id, ports[id - 1], &members, &[])).collect::<io::Result<Vec<_>>>()?;
    for node in &nodes {
        lines.iter().try_for_each(|line| node.configure(line))?;
    }
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
fn node(id: usize, port: u16, members: &str, java: &[String]) -> io::Result<ZooKeeper> {
    let directory = directory("zookeeper")?;
    fs::write(directory.path().join("myid"), id.to_string())?;
    fs::write(directory.path().join("zoo.cfg"), config(directory.path(), port, members))?;
    let arguments = java.iter().cloned().chain(java_arguments(directory.path())).collect();
    let server = Server::own(format!("127.0.0.1:{port}"), "java", arguments, directory);
    Ok(ZooKeeper { server, secure: None })
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
