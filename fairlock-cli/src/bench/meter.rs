//! What a server says of the work that it has done.

use fairlock::LockUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::local::cpu;

/// Work of a server; `None` is what it does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Messages from clients.
    pub(super) requests: Option<f64>,
    /// Commands of Redis, those inside scripts too.
    pub(super) commands: Option<f64>,
    /// In both directions.
    pub(super) bytes: Option<f64>,
    /// Seconds of processor time.
    pub(super) cpu: Option<f64>,
}

impl Usage {
    /// What came after `before`.
    pub(super) fn since(self, before: Self) -> Self {
        self.combine(before, |after, before| after - before)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.combine(other, |one, other| one + other)
    }

    /// For each of so many grants, or seconds.
    pub(super) fn per(self, count: f64) -> Self {
        self.combine(self, |all, _| all / count)
    }

    fn combine(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let both = |one: Option<f64>, other: Option<f64>| Some(combine(one?, other?));
        Self {
            requests: both(self.requests, other.requests),
            commands: both(self.commands, other.commands),
            bytes: both(self.bytes, other.bytes),
            cpu: both(self.cpu, other.cpu),
        }
    }
}

/// Reads what the server says.
pub(super) enum Meter {
    Silent,
    #[cfg(feature = "redis")]
    Redis(Box<redis::aio::MultiplexedConnection>),
    #[cfg(feature = "postgres")]
    Postgres(Box<tokio_postgres::Client>, Vec<String>),
    Etcd(Vec<String>),
    ZooKeeper(Vec<String>),
}

impl Meter {
    pub(super) async fn new(url: &LockUrl) -> Self {
        match url.scheme() {
            #[cfg(feature = "redis")]
            "redis" => match super::floor::redis::connect(url).await {
                Ok(connection) => Self::Redis(Box::new(connection)),
                Err(_) => Self::Silent,
            },
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                match (super::floor::postgres::connect(url).await, url.endpoints(5432)) {
                    (Ok(client), Ok(servers)) => Self::Postgres(Box::new(client), servers),
                    _ => Self::Silent,
                }
            }
            "etcd" => url.endpoints(2379).map_or(Self::Silent, Self::Etcd),
            "zookeeper" => url.endpoints(2181).map_or(Self::Silent, Self::ZooKeeper),
            _ => Self::Silent,
        }
    }

    /// What all servers have done since they started.
    pub(super) async fn read(&mut self) -> Usage {
        match self {
            Self::Silent => Usage::default(),
            #[cfg(feature = "redis")]
            Self::Redis(connection) => {
                let info = redis::cmd("INFO").arg("all").query_async(&mut **connection).await;
                info.map_or(Usage::default(), |info: String| of_redis(&info))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(client, servers) => of_postgres(client, servers).await,
            Self::Etcd(servers) => sum(servers, "GET /metrics HTTP/1.0\r\n\r\n", of_etcd).await,
            Self::ZooKeeper(servers) => {
                let cpu = servers.iter().map(|server| cpu(server)).sum();
                Usage { cpu, ..sum(servers, "mntr", of_zookeeper).await }
            }
        }
    }
}

async fn sum(servers: &[String], question: &str, usage: fn(&str) -> Usage) -> Usage {
    let mut sum: Option<Usage> = None;
    for server in servers {
        let usage = ask(server, question).await.map_or(Usage::default(), |answer| usage(&answer));
        sum = Some(sum.map_or(usage, |sum| sum.plus(usage)));
    }
    sum.unwrap_or_default()
}

/// What a server answers before it closes the connection.
async fn ask(server: &str, question: &str) -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let ask = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    timeout(PATIENCE, ask).await.ok()?
}

/// The sum of what these lines have after their name and the separator; `None` if there is no such line.
fn total(answer: &str, value: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    answer.lines().filter_map(value).reduce(|one, other| one + other)
}

fn named(answer: &str, separator: char, names: &[&str]) -> Option<f64> {
    total(answer, |line| {
        let (name, value) = line.split_once(separator)?;
        names.contains(&name).then(|| value.trim().parse().ok())?
    })
}

/// `INFO all`.
#[cfg(feature = "redis")]
fn of_redis(info: &str) -> Usage {
    /// What our clients send; scripts call none of these.
    const SENT: [&str; 9] = [
        "eval",
        "evalsha",
        "script|load",
        "fcall",
        "subscribe",
        "unsubscribe",
        "ssubscribe",
        "psubscribe",
        "wait",
    ];
    let calls = |line: &str| {
        let (command, told) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = told.strip_prefix("calls=")?.split(',').next()?;
        SENT.contains(&command).then(|| calls.parse().ok())?
    };
    Usage {
        requests: Some(total(info, calls).unwrap_or(0.0)),
        commands: named(info, ':', &["total_commands_processed"]),
        bytes: named(info, ':', &["total_net_input_bytes", "total_net_output_bytes"]),
        cpu: named(info, ':', &["used_cpu_sys", "used_cpu_user"]),
    }
}

/// Transactions of the whole server, of which each of our requests is one, and those of the floor are as well. Processes tell of theirs
/// when they have nothing to do, so this is right to within what they do in a second.
#[cfg(feature = "postgres")]
async fn of_postgres(client: &tokio_postgres::Client, servers: &[String]) -> Usage {
    let all = "SELECT sum(xact_commit + xact_rollback)::float8 FROM pg_stat_database";
    let requests = client.query_one(all, &[]).await.and_then(|row| row.try_get(0)).ok();
    let cpu = servers.iter().map(|server| super::local::cpu_with_children(server)).sum();
    Usage { requests, commands: None, bytes: None, cpu }
}

/// The metrics of etcd: <https://etcd.io/docs/v3.4/metrics/>.
fn of_etcd(metrics: &str) -> Usage {
    let received =
        |line: &str| line.strip_prefix("grpc_server_msg_received_total{")?.rsplit_once(' ')?.1.parse().ok();
    Usage {
        requests: total(metrics, received),
        commands: None,
        bytes: named(
            metrics,
            ' ',
            &["etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total"],
        ),
        cpu: named(metrics, ' ', &["process_cpu_seconds_total"]),
    }
}

/// The four-letter word `mntr`.
fn of_zookeeper(metrics: &str) -> Usage {
    Usage {
        requests: named(metrics, '\t', &["zk_packets_received"]),
        commands: None,
        bytes: named(metrics, '\t', &["zk_bytes_received_count", "zk_response_bytes", "zk_watch_bytes"]),
        cpu: None,
    }
}
