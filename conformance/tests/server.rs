//! The servers that the suite starts.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::future_not_send, reason = "a test runs on one thread")]

use std::env;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use conformance::server::{Ensemble, ZooKeeper};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zookeeper_client::{Acls, Client, CreateMode};

const DEADLINE: Duration = Duration::from_secs(30);

/// A test that finds this variable set is the child of itself.
const CHILD: &str = "FAIRLOCK_TEST_CHILD";

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

async fn is_down(address: &str) -> bool {
    TcpStream::connect(address).await.is_err()
}

/// This test, as a process of its own.
fn child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "yes").stdout(Stdio::piped());
    command
}

#[tokio::test]
async fn a_server_answers() {
    let server = ZooKeeper::start().await.unwrap();
    assert_eq!(server.four_letter("ruok").await.unwrap(), "imok");
    assert!(server.four_letter("srvr").await.unwrap().contains("Mode: standalone"));
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let server = ZooKeeper::start().await.unwrap();
    let address = server.address().to_owned();
    let client = Client::connect(&address).await.unwrap();
    let mode = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let (created, _) = client.create("/kept", b"data", &mode).await.unwrap();
    drop(client);

    server.kill().unwrap();
    assert!(is_down(&address).await);
    assert!(server.pause().is_err());
    server.restart().await.unwrap();
    assert_eq!(server.address(), address);
    let client = Client::connect(&address).await.unwrap();
    assert_eq!(client.get_data("/kept").await.unwrap(), (b"data".to_vec(), created));
}

#[tokio::test]
async fn a_paused_server_is_silent_until_resumed() {
    let server = ZooKeeper::start().await.unwrap();
    server.pause().unwrap();
    server.pause().unwrap();
    assert_eq!(server.four_letter("ruok").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    server.resume().unwrap();
    assert_eq!(server.four_letter("ruok").await.unwrap(), "imok");
}

#[tokio::test]
async fn a_dropped_server_is_gone_even_when_paused() {
    let server = ZooKeeper::start().await.unwrap();
    let address = server.address().to_owned();
    server.pause().unwrap();
    drop(server);
    assert!(is_down(&address).await);
}

#[tokio::test]
async fn a_server_removes_an_empty_container() {
    let server = ZooKeeper::start().await.unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    let child = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/container", b"", &container).await.unwrap();
    client.create("/container/child", b"", &child).await.unwrap();
    client.delete("/container/child", None).await.unwrap();
    until("removed", async || client.check_stat("/container").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn an_ensemble_survives_the_loss_of_its_leader() {
    let ensemble = Ensemble::start().await.unwrap();
    let addresses = ensemble.addresses();
    assert_eq!(addresses.len(), 3);
    let first = ensemble.leader().await.unwrap();

    let client = Client::connect(addresses[first]).await.unwrap();
    let mode = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/kept", b"data", &mode).await.unwrap();
    drop(client);

    ensemble.nodes()[first].kill().unwrap();
    let second = ensemble.leader().await.unwrap();
    assert_ne!(second, first);
    let client = Client::connect(addresses[second]).await.unwrap();
    assert_eq!(client.get_data("/kept").await.unwrap().0, b"data");
    drop(client);

    ensemble.nodes()[first].restart().await.unwrap();
    ensemble.nodes()[second].pause().unwrap();
    assert_ne!(ensemble.leader().await.unwrap(), second);
}

#[tokio::test]
async fn a_server_dies_with_the_process_that_started_it() {
    if env::var_os(CHILD).is_some() {
        let server = ZooKeeper::start().await.unwrap();
        println!("\nserver {}", server.address());
        return std::future::pending().await;
    }
    let leftovers = tempfile::tempdir().unwrap();
    let mut child = child("a_server_dies_with_the_process_that_started_it");
    let mut child = child.env("TMPDIR", leftovers.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address =
        lines.find_map(|line| Some(line.unwrap().strip_prefix("server ")?.to_owned())).expect("an address");
    assert!(!is_down(&address).await);
    child.kill().unwrap();
    child.wait().unwrap();
    until("gone", async || is_down(&address).await).await;
}

#[tokio::test]
async fn a_server_outlives_the_thread_that_started_it() {
    let start = || tokio::runtime::Runtime::new().unwrap().block_on(ZooKeeper::start()).unwrap();
    let server = thread::spawn(start).join().unwrap();
    assert_eq!(server.four_letter("ruok").await.unwrap(), "imok");
}

#[tokio::test]
async fn a_given_server_is_used_and_left_alone() {
    if env::var_os(CHILD).is_some() {
        let server = ZooKeeper::given_or_start().await.unwrap();
        assert_eq!(server.address(), "elsewhere:2181");
        assert_eq!(server.kill().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(server.pause().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(server.resume().unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(server.restart().await.unwrap_err().kind(), io::ErrorKind::Unsupported);
        return;
    }
    let mut child = child("a_given_server_is_used_and_left_alone");
    assert!(child.env("FAIRLOCK_TEST_ZOOKEEPER", "elsewhere:2181").status().unwrap().success());
}

#[tokio::test]
async fn a_missing_server_is_an_error_that_says_what_to_run() {
    if env::var_os(CHILD).is_some() {
        let error = ZooKeeper::start().await.unwrap_err();
        assert_eq!(error.to_string(), "ZooKeeper is not installed: run scripts/install-servers");
        return;
    }
    let mut child = child("a_missing_server_is_an_error_that_says_what_to_run");
    assert!(child.env("PATH", "").status().unwrap().success());
}
