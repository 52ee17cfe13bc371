//! What is done to clients and servers, one thing after the other, out of a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use super::nodes::Nodes;
use super::now;
use super::run::Clients;
use crate::failure::Failure;

/// What can be done to a client's network; a client can be stopped and killed as well.
const NETWORK: [&str; 5] = ["cut", "mute", "delay replies", "hold requests", "late requests"];
const PROCESS: [&str; 2] = ["stop", "kill"];

/// Breaks something, again and again.
pub(super) struct Nemesis {
    rng: StdRng,
    session: Duration,
    /// When what was broken: from, to.
    pub(super) disturbed: Vec<(Duration, Duration)>,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

impl Nemesis {
    pub(super) fn new(seed: u64, session: Duration) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, session, disturbed: Vec::new(), faults: BTreeMap::new() }
    }

    /// Until this time. When it returns, all is mended.
    #[expect(clippy::future_not_send, reason = "it runs on the thread that blocks on it")]
    pub(super) async fn work(
        &mut self,
        until: Duration,
        clients: &mut Clients,
        nodes: Option<&dyn Nodes>,
    ) -> Result<(), Failure> {
        while now() < until {
            let pause = self.rng.random_range(0..1500);
            sleep(Duration::from_millis(pause)).await;
            let from = now();
            self.break_something(clients, nodes).await?;
            // What a dead session has stays for as long as it lasts, and all may try again for some time.
            self.disturbed.push((from, now() + 2 * self.session + Duration::from_secs(3)));
        }
        Ok(())
    }

    #[expect(clippy::future_not_send, reason = "it runs on the thread that blocks on it")]
    async fn break_something(
        &mut self,
        clients: &mut Clients,
        nodes: Option<&dyn Nodes>,
    ) -> Result<(), Failure> {
        let network = if clients.have_networks() { &NETWORK[..] } else { &[] };
        let servers = nodes.map_or(&[][..], |nodes| nodes.faults());
        let number = self.rng.random_range(0..network.len() + PROCESS.len() + servers.len());
        let (client, node) = (self.rng.random_range(0..clients.count()), self.rng.random_range(0..3));
        let longest = if self.rng.random_bool(0.3) { 2 * self.session } else { self.session / 2 };
        let lasts = longest.mul_f64(self.rng.random_range(0.05..1.0));
        let fault = *network.iter().chain(&PROCESS).chain(servers).nth(number).unwrap_or(&PROCESS[0]);
        *self.faults.entry(fault).or_default() += 1;
        match nodes.filter(|_| number >= network.len() + PROCESS.len()) {
            Some(nodes) => Ok(nodes.inflict(fault, node, lasts).await?),
            None => clients.inflict(client, fault, lasts).await,
        }
    }
}
