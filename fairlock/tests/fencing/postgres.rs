//! The recipe for PostgreSQL.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use fairlock::FencingToken;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Error, NoTls};

use crate::holders::{Store, check, write_much};

const SCHEMA: &str = include_str!("../../../docs/guide/src/fencing/schema.sql");
const ADMIT: &str = include_str!("../../../docs/guide/src/fencing/admit.sql");

/// A server in a directory of its own, whose socket is its only door. It ends with the test.
struct Server {
    process: Child,
    directory: TempDir,
}

/// Where Debian puts a version's programs.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        installed.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max();
    newest.expect("PostgreSQL is not installed: scripts/install-servers installs it")
}

/// A program of PostgreSQL's, which refuses to be root.
fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(programs().join(program));
    if rustix::process::geteuid().is_root() {
        let owner = std::fs::metadata(directory).unwrap();
        let (user, group) =
            (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        command.uid(user).gid(group);
    }
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            // Nobody.
            std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
        }
        let data = directory.path().join("data");
        let mut initdb = command("initdb", directory.path());
        initdb
            .args(["--no-sync", "--auth=trust", "--username=test", "--encoding=UTF8", "--pgdata"])
            .arg(&data);
        assert!(initdb.status().unwrap().success(), "initdb failed");
        let mut postgres = command("postgres", directory.path());
        postgres
            .args(["-c", "fsync=off", "-c", "listen_addresses=", "-D"])
            .arg(&data)
            .arg("-k")
            .arg(directory.path());
        Self { process: postgres.spawn().unwrap(), directory }
    }

    async fn client(&self) -> Client {
        let config = format!("host={} user=test dbname=postgres", self.directory.path().display());
        let connect = async {
            loop {
                if let Ok((client, connection)) = tokio_postgres::connect(&config, NoTls).await {
                    tokio::spawn(connection);
                    return client;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), connect).await.expect("PostgreSQL does not start")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not SIGKILL, which would leave its children.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::QUIT,
        );
        let _ = self.process.wait();
    }
}

struct Database {
    /// As two processes would have.
    clients: [Mutex<Client>; 2],
}

/// Writes in one transaction with the check; whether the token was the largest.
async fn write(client: &mut Client, token: FencingToken, value: u64) -> Result<bool, Error> {
    let transaction = client.transaction().await?;
    // Tokens fit into a signed integer.
    if transaction.execute(ADMIT, &[&"orders", &(token.get() as i64)]).await? == 0 {
        return Ok(false);
    }
    transaction.execute("UPDATE orders SET value = $1 WHERE id = 42", &[&(value as i64)]).await?;
    transaction.commit().await?;
    Ok(true)
}

#[async_trait]
impl Store for Database {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        let mut client = self.clients[token.get() as usize % 2].lock().await;
        write(&mut client, token, value).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_takes_no_stale_write() {
    let server = Server::start().await;
    let clients = [Mutex::new(server.client().await), Mutex::new(server.client().await)];
    let schema =
        format!("{SCHEMA}; CREATE TABLE orders (id INT, value BIGINT); INSERT INTO orders VALUES (42, 0)");
    clients[0].lock().await.batch_execute(&schema).await.unwrap();
    check(&write_much(Database { clients }).await);
}
