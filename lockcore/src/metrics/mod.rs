//! What is counted of locks and sessions, by the `metrics` facade, for whoever installs a recorder. Without the cargo feature `metrics`
//! nothing is counted, and it costs nothing.

#[cfg(not(feature = "metrics"))]
mod absent;
#[cfg(feature = "metrics")]
mod counted;
#[cfg(feature = "metrics")]
mod names;
#[cfg(feature = "metrics")]
mod recorded;

#[cfg(not(feature = "metrics"))]
pub(crate) use absent::{Counting, Held, counted, renewed_late};
#[cfg(feature = "metrics")]
pub(crate) use counted::counted;
#[cfg(feature = "metrics")]
pub use names::{ALL, Kind, Metric, describe};
#[cfg(feature = "metrics")]
pub use recorded::label_locks;
#[cfg(feature = "metrics")]
pub(crate) use recorded::{Counting, Held, renewed_late};

/// How an acquisition ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Granted,
    NotInTime,
    Failed,
}
