//! Locks of other crates and of the kernel, measured like ours: `peers PEER ROW N MILLISECONDS WHERE`.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rslock::LockManager;
use tokio::sync::Mutex;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, LockOptions, LockPrefix};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Once through a lock; gives when it was granted.
trait Contender: Send + 'static {
    /// One turn of so many is looked at: where a turn is short, the clock would be a good part of it.
    const EVERY: u64 = 1;

    fn turn(&mut self) -> impl Future<Output = Result<Instant>> + Send;
}

struct Turn {
    asked: Instant,
    granted: Instant,
}

struct Tokio(Arc<Mutex<()>>);

impl Contender for Tokio {
    const EVERY: u64 = 64;

    async fn turn(&mut self) -> Result<Instant> {
        let _guard = self.0.lock().await;
        Ok(Instant::now())
    }
}

/// `flock` of an open file, which the kernel hands over.
struct Flock(File);

impl Contender for Flock {
    async fn turn(&mut self) -> Result<Instant> {
        let granted = tokio::task::block_in_place(|| {
            self.0.lock()?;
            let granted = Instant::now();
            self.0.unlock()?;
            Ok::<_, io::Error>(granted)
        })?;
        Ok(granted)
    }
}

struct ZooKeeper {
    client: Client,
    directory: String,
}

impl Contender for ZooKeeper {
    async fn turn(&mut self) -> Result<Instant> {
        let prefix = LockPrefix::new_curator(&self.directory, "lock-")?;
        let acls = Acls::anyone_all();
        let lock = self.client.lock(prefix, b"", LockOptions::new(acls)).await?;
        let granted = Instant::now();
        // Its only way to give it back, which is not awaited.
        drop(lock);
        Ok(granted)
    }
}

struct Redis {
    manager: LockManager,
    key: String,
}

impl Contender for Redis {
    async fn turn(&mut self) -> Result<Instant> {
        const TTL: Duration = Duration::from_secs(10);
        let lock = self.manager.acquire_no_guard(self.key.as_bytes(), TTL).await?;
        let granted = Instant::now();
        self.manager.unlock(&lock).await;
        Ok(granted)
    }
}

async fn take_turns<C: Contender>(mut contender: C, over: Arc<AtomicBool>) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    while !over.load(Ordering::Relaxed) {
        for _ in 1..C::EVERY {
            contender.turn().await?;
        }
        let asked = Instant::now();
        turns.push(Turn { asked, granted: contender.turn().await? });
    }
    Ok(turns)
}

async fn measure<C: Contender>(contenders: Vec<C>, measured: Duration) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> =
        contenders.into_iter().map(|contender| tokio::spawn(take_turns(contender, over.clone()))).collect();
    tokio::time::sleep(measured / 4).await;
    let begin = Instant::now();
    tokio::time::sleep(measured).await;
    let end = Instant::now();
    over.store(true, Ordering::Relaxed);
    let (n, mut squares, mut waits) = (tasks.len(), 0.0, Vec::new());
    for task in tasks {
        let before = waits.len();
        let inside = task.await??.into_iter().filter(|turn| (begin..end).contains(&turn.granted));
        waits.extend(inside.map(|turn| turn.granted - turn.asked));
        squares += ((waits.len() - before) as f64).powi(2);
    }
    waits.sort_unstable();
    let percentile = |share: f64| {
        let index = (waits.len().saturating_sub(1) as f64 * share) as usize;
        waits.get(index).map_or(0.0, |wait| wait.as_nanos() as f64 / 1e3)
    };
    let rate = waits.len() as f64 * C::EVERY as f64 / (end - begin).as_secs_f64();
    let (p50, p99) = (percentile(0.5), percentile(0.99));
    let jain = (waits.len() as f64).powi(2) / (n as f64 * squares).max(1.0);
    println!(r#"{{"grants_per_second":{rate},"p50":{p50},"p99":{p99},"jain":{jain}}}"#);
    Ok(())
}

async fn run(peer: &str, row: &str, n: usize, measured: Duration, place: &str) -> Result<()> {
    let handover = row == "handover";
    let key = |contender: usize| if handover { 0 } else { contender };
    match peer {
        "tokio" => {
            let locks: Vec<Arc<Mutex<()>>> = (0..n).map(|_| Arc::default()).collect();
            measure((0..n).map(|contender| Tokio(locks[key(contender)].clone())).collect(), measured).await
        }
        "flock" => {
            let open = |contender| File::create(format!("{place}/{}", key(contender))).map(Flock);
            measure((0..n).map(open).collect::<io::Result<_>>()?, measured).await
        }
        "zookeeper-client" => {
            const DIRECTORY: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
            let shared = Client::connect(place).await?;
            let mut contenders = Vec::new();
            for contender in 0..n {
                let client = if handover { Client::connect(place).await? } else { shared.clone() };
                let directory = format!("/peer/lock{}", key(contender));
                client.mkdir(&directory, &DIRECTORY).await?;
                contenders.push(ZooKeeper { client, directory });
            }
            measure(contenders, measured).await
        }
        "rslock" => {
            let manager = || LockManager::new(vec![format!("redis://{place}/")]);
            let shared = manager();
            let redis = |contender| {
                let manager = if handover { manager() } else { shared.clone() };
                Redis { manager, key: format!("peer{}", key(contender)) }
            };
            measure((0..n).map(redis).collect(), measured).await
        }
        _ => Err(format!("unknown peer {peer:?}").into()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, row, n, measured, place] = &arguments[..] else {
        return Err("usage: peers PEER ROW N MILLISECONDS WHERE".into());
    };
    run(peer, row, n.parse()?, Duration::from_millis(measured.parse()?), place).await
}
