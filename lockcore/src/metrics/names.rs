//! The metrics, and what they are for.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It is what it is now.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric, as `docs/observability.md` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, by the conventions of Prometheus.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels. Those of locks have a label `lock` beside them if [one is made](super::label_locks).
    pub labels: &'static [&'static str],
    /// What it is.
    pub help: &'static str,
}

pub(super) const ACQUISITIONS: &str = "fairlock_acquisitions_total";
pub(super) const WAIT: &str = "fairlock_wait_seconds";
pub(super) const HOLD: &str = "fairlock_hold_seconds";
pub(super) const WAITERS: &str = "fairlock_waiters";
pub(super) const HOLDERS: &str = "fairlock_holders";
pub(super) const LOST_HOLDS: &str = "fairlock_lost_holds_total";
pub(super) const SESSION_STATE: &str = "fairlock_session_state";
pub(super) const LOST_SESSIONS: &str = "fairlock_lost_sessions_total";
pub(super) const LATENESS: &str = "fairlock_renewal_lateness_seconds";
pub(super) const REQUESTS: &str = "fairlock_requests_total";

/// All metrics.
pub const ALL: &[Metric] = &[
    Metric {
        name: ACQUISITIONS,
        kind: Kind::Counter,
        labels: &["backend", "kind", "outcome"],
        help: "acquisitions that ended: granted, not_in_time, failed, or cancelled",
    },
    Metric {
        name: WAIT,
        kind: Kind::Histogram,
        labels: &["backend", "kind", "outcome"],
        help: "how long they took",
    },
    Metric {
        name: HOLD,
        kind: Kind::Histogram,
        labels: &["backend", "kind"],
        help: "how long locks were held",
    },
    Metric {
        name: WAITERS,
        kind: Kind::Gauge,
        labels: &["backend", "kind"],
        help: "acquisitions of this process that are under way",
    },
    Metric {
        name: HOLDERS,
        kind: Kind::Gauge,
        labels: &["backend", "kind"],
        help: "locks that this process holds, lost ones among them until their guard is gone",
    },
    Metric {
        name: LOST_HOLDS,
        kind: Kind::Counter,
        labels: &["backend", "kind", "reason"],
        help: "guards that turned out to be lost when they were released or dropped: expired, deadline, removed, closed, or abandoned",
    },
    Metric {
        name: SESSION_STATE,
        kind: Kind::Gauge,
        labels: &["backend"],
        help: "the session: 2 it lives, 1 it is in doubt, 0 it is lost",
    },
    Metric {
        name: LOST_SESSIONS,
        kind: Kind::Counter,
        labels: &["backend", "reason"],
        help: "sessions that were lost, by the same reasons",
    },
    Metric {
        name: LATENESS,
        kind: Kind::Histogram,
        labels: &[],
        help: "how much later than planned renewals of sessions were sent: the runtime was busy",
    },
    Metric {
        name: REQUESTS,
        kind: Kind::Counter,
        labels: &["backend", "operation", "outcome"],
        help: "operations that the server was asked for, each of which may take several messages: ok, or failed; renewals apart",
    },
];

/// Tells the recorder what the metrics are for. Call it once it is installed.
pub fn describe() {
    for Metric { name, kind, help, .. } in ALL {
        let unit = if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match kind {
            Kind::Counter => describe_counter!(*name, unit, *help),
            Kind::Gauge => describe_gauge!(*name, unit, *help),
            Kind::Histogram => describe_histogram!(*name, unit, *help),
        }
    }
}
