//! What a backend can promise, for applications to read or to demand.

use std::fmt;

/// What a backend can promise. An application demands with the URL option `require=`, a comma-separated list
/// of [requirements](Capabilities::REQUIREMENTS), and is refused at once where they are not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Grants follow the order in which the server accepted the entries.
    pub fair: bool,
    /// How far fencing tokens can be relied on.
    pub fencing: Fencing,
    /// A holder is told of a loss before anybody else can be let in.
    pub loss_detection: bool,
    /// What the failover of a server costs.
    pub failover: Failover,
    /// Whose clocks have to run at the right speed.
    pub clocks: Clocks,
    /// Locks are shared with other processes.
    pub interprocess: bool,
}

/// How far fencing tokens can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fencing {
    /// A later guard always carries a larger token.
    Strict,
    /// So it is, except for cases that the backend documents.
    BestEffort,
}

/// What the failover of a server costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Failover {
    /// Nothing: what was acknowledged survives.
    KeepsLocks,
    /// Acknowledged locks can be lost.
    MayLoseLocks,
    /// There is no server that could fail.
    NoServer,
}

/// Whose clocks have to run at the right speed for exclusion to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Clocks {
    /// Nobody's.
    None,
    /// Clients and servers must measure durations alike.
    Rate,
    /// The server's time of day must not jump.
    ServerTimeOfDay,
}

impl Capabilities {
    /// What `require=` accepts.
    pub const REQUIREMENTS: [&str; 6] =
        ["fair", "strict-fencing", "loss-detection", "failover", "no-time-of-day", "interprocess"];

    /// The strongest promises; a driver weakens what it cannot keep.
    pub const fn strict() -> Self {
        Self {
            fair: true,
            fencing: Fencing::Strict,
            loss_detection: true,
            failover: Failover::KeepsLocks,
            clocks: Clocks::Rate,
            interprocess: true,
        }
    }

    /// Whether the requirement of this name is met; `None` for a name that is none of
    /// [`REQUIREMENTS`](Self::REQUIREMENTS).
    pub fn meets(&self, requirement: &str) -> Option<bool> {
        Some(match requirement {
            "fair" => self.fair,
            "strict-fencing" => self.fencing == Fencing::Strict,
            "loss-detection" => self.loss_detection,
            "failover" => self.failover == Failover::KeepsLocks,
            "no-time-of-day" => self.clocks != Clocks::ServerTimeOfDay,
            "interprocess" => self.interprocess,
            _ => return None,
        })
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met: Vec<&str> =
            Self::REQUIREMENTS.into_iter().filter(|name| self.meets(name) == Some(true)).collect();
        f.write_str(&met.join(", "))
    }
}
