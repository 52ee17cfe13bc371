//! One run: processes, their networks, the nemesis, the judgement.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lockcore::{DistributedLockExt, EntryId, LockService, LockUrl, Registry};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::contender::Role;
use super::nemesis::Nemesis;
use super::nodes::Nodes;
use super::now;
use super::resource::Resource;
use crate::failure::Failure;
use crate::history::{Conditions, Event, History, Report, What};
use crate::proxy::Proxy;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the locks live.
    pub url: String,
    /// What is broken follows from it.
    pub seed: u64,
    /// For how long something is broken. After that all has some time to end, for which a quarter is added, and two session
    /// times at least.
    pub time: Duration,
    /// How many processes contend.
    pub clients: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The judgement.
    pub report: Report,
    /// How often what was broken.
    pub faults: BTreeMap<&'static str, u64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nbroken: ", self.report)?;
        let faults: Vec<String> =
            self.faults.iter().map(|(fault, times)| format!("{times} {fault}")).collect();
        f.write_str(&faults.join(", "))
    }
}

/// Breaks the clients, and the servers if they are ours, while they contend for locks of a name of their own.
///
/// The program that calls this must call [`serve_as_contender`](super::serve_as_contender) first of all: it is started again for
/// each client.
///
/// # Errors
///
/// If the service cannot be reached, or a process cannot be started or fails by itself.
///
/// # Cancel safety
///
/// Dropping the future kills the processes.
#[expect(clippy::future_not_send, reason = "it runs on the thread that blocks on it")]
pub async fn run(registry: &Registry, plan: &Plan, nodes: Option<&dyn Nodes>) -> Result<Outcome, Failure> {
    let url: LockUrl = plan.url.parse()?;
    let locks = registry.connect_url(url).await?;
    let session = locks.session_time().unwrap_or(Duration::from_secs(4));
    let calm = (plan.time / 4).max(2 * session + Duration::from_secs(4));
    let resource = Arc::new(Resource::default());
    let directory = tempfile::tempdir()?;
    let begun = now();
    let role = Role {
        number: 0,
        seed: plan.seed,
        name: format!("chaos/{}", EntryId::random()),
        until: begun + plan.time + calm,
        log: directory.path().to_owned(),
        resource: resource.clone().serve().await?,
    };
    let mut clients = Clients::start(plan, role.clone(), directory).await?;
    let mut nemesis = Nemesis::new(plan.seed, session);
    nemesis.work(begun + plan.time, &mut clients, nodes).await?;
    let mut history = clients.finish().await?;
    history.extend(resource.events());
    history.extend(leftovers(&*locks, &role, session).await?);
    let conditions = Conditions {
        handover: Some(Duration::from_secs(10)),
        leftover: Some(Duration::from_secs(10)),
        told: Duration::from_secs(5),
        disturbed: nemesis.disturbed,
        must_refuse: false,
    };
    Ok(Outcome { report: history.check(&conditions), faults: nemesis.faults })
}

/// Whoever is still in a queue when all sessions have ended; and every lock can be had.
async fn leftovers(locks: &dyn LockService, role: &Role, session: Duration) -> Result<Vec<Event>, Failure> {
    let deadline = now() + 3 * session + Duration::from_secs(20);
    let mut left = Vec::new();
    for lock in role.locks(locks)? {
        while !lock.queue().await.is_ok_and(|queue| queue.is_empty()) && now() < deadline {
            sleep(Duration::from_millis(200)).await;
        }
        let seen = |entry: lockcore::QueueEntry| {
            let acquisition = entry.label.parse().unwrap_or(u64::MAX);
            Event { at: now(), acquisition, what: What::Seen }
        };
        left.extend(lock.queue().await?.into_iter().map(seen));
        if left.is_empty() {
            let acquired = timeout(Duration::from_secs(30), lock.acquire()).await;
            let guard = acquired.map_err(|_| Failure::new("a lock that is free cannot be had"))??;
            let _ = guard.release().await?;
        }
    }
    locks.close().await?;
    Ok(left)
}

/// The processes that contend.
pub(super) struct Clients {
    role: Role,
    directory: TempDir,
    clients: Vec<Client>,
    started: u64,
    /// Which processes were killed, and when.
    killed: BTreeMap<u64, Duration>,
}

struct Client {
    number: u64,
    child: Child,
    url: String,
    /// One for each server.
    networks: Vec<Proxy>,
}

impl Clients {
    async fn start(plan: &Plan, role: Role, directory: TempDir) -> Result<Self, Failure> {
        let mut clients = Self { role, directory, clients: Vec::new(), started: 0, killed: BTreeMap::new() };
        for _ in 0..plan.clients {
            let (url, networks) = behind_proxies(&plan.url).await?;
            let (number, child) = clients.spawn(&url)?;
            clients.clients.push(Client { number, child, url, networks });
        }
        Ok(clients)
    }

    fn spawn(&mut self, url: &str) -> Result<(u64, Child), Failure> {
        self.started += 1;
        let number = self.started;
        let log = log(self.directory.path(), number);
        let (name, value) = Role { number, log, ..self.role.clone() }.environment()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.env(name, value).env(lockcore::Config::ENV, url).stdin(Stdio::piped());
        Ok((number, command.spawn()?))
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn have_networks(&self) -> bool {
        self.clients.iter().all(|client| !client.networks.is_empty())
    }

    pub(super) async fn inflict(
        &mut self,
        client: usize,
        fault: &str,
        lasts: Duration,
    ) -> Result<(), Failure> {
        if fault == "kill" {
            return self.kill(client);
        }
        let Client { child, networks, .. } = &self.clients[client];
        let all = |verb: fn(&Proxy)| networks.iter().for_each(verb);
        match fault {
            "stop" => kill_process(Pid::from_child(child), Signal::STOP)?,
            "cut" => all(Proxy::cut),
            "mute" => all(Proxy::mute),
            "delay replies" => all(Proxy::delay),
            _ => all(Proxy::hold),
        }
        sleep(lasts).await;
        match fault {
            "stop" => kill_process(Pid::from_child(child), Signal::CONT)?,
            "late requests" => {
                all(Proxy::abandon);
                sleep(lasts / 4).await;
                all(Proxy::deliver);
            }
            _ => all(Proxy::heal),
        }
        Ok(())
    }

    /// Another process takes its place.
    fn kill(&mut self, client: usize) -> Result<(), Failure> {
        let Client { child, number, url, .. } = &mut self.clients[client];
        // Before it is: what it held is free as soon as it is dead, and that may be long before we hear of it.
        self.killed.insert(*number, now());
        child.kill()?;
        child.wait()?;
        let url = url.clone();
        let (number, child) = self.spawn(&url)?;
        (self.clients[client].number, self.clients[client].child) = (number, child);
        Ok(())
    }

    /// Waits until all have ended by themselves, and reads what they logged.
    async fn finish(&mut self) -> Result<History, Failure> {
        let deadline = self.role.until + Duration::from_secs(60);
        for client in &mut self.clients {
            while client.child.try_wait()?.is_none() && now() < deadline {
                sleep(Duration::from_millis(50)).await;
            }
            match client.child.try_wait()? {
                Some(status) if !status.success() => {
                    return Err(Failure::new(format!("contender {}: {status}", client.number)));
                }
                // The history shows what it was waiting for.
                _ => {}
            }
        }
        let mut history = History::default();
        for number in 1..=self.started {
            history.extend(self.log_of(number)?);
        }
        Ok(history)
    }

    fn log_of(&self, number: u64) -> Result<Vec<Event>, Failure> {
        let text = std::fs::read_to_string(log(self.directory.path(), number)).unwrap_or_default();
        let killed = self.killed.get(&number);
        let mut events = Vec::new();
        for line in text.lines() {
            match serde_json::from_str::<Event>(line) {
                Ok(event) => events.push(event),
                // It died while it wrote.
                Err(_) if killed.is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(killed) = killed {
            // What it logged it did.
            let at = events.iter().map(|event| event.at).max().map_or(*killed, |last| last.max(*killed));
            let over = |event: &Event| matches!(event.what, What::Over).then_some(event.acquisition);
            let over: Vec<u64> = events.iter().filter_map(over).collect();
            let asked = |event: &Event| matches!(event.what, What::Asked { .. }).then_some(event.acquisition);
            let open: Vec<u64> =
                events.iter().filter_map(asked).filter(|asked| !over.contains(asked)).collect();
            events.extend(open.into_iter().map(|acquisition| Event { at, acquisition, what: What::Killed }));
        }
        Ok(events)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for client in &mut self.clients {
            // It may have ended.
            let _ = client.child.kill();
            let _ = client.child.wait();
        }
    }
}

fn log(directory: &Path, number: u64) -> std::path::PathBuf {
    directory.join(format!("{number}.log"))
}

/// The same URL with a proxy in front of each of its hosts; without hosts, or where a host has no port, as it is.
async fn behind_proxies(url: &str) -> Result<(String, Vec<Proxy>), Failure> {
    let parsed: LockUrl = url.parse()?;
    let hosts = parsed.hosts();
    if hosts.is_empty() || hosts.iter().any(|host| !host.contains(':')) {
        return Ok((url.to_owned(), Vec::new()));
    }
    let mut proxies = Vec::new();
    for host in hosts {
        proxies.push(Proxy::start(host.as_str()).await?);
    }
    let addresses: Vec<String> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    // The hosts are where they were: credentials and options stay.
    Ok((url.replacen(&hosts.join(","), &addresses.join(","), 1), proxies))
}
