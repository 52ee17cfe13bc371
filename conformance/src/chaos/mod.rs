//! Chaos: processes contend for locks on real servers, while their network, they themselves and the servers break; what they
//! logged is judged by the [checker of histories](crate::history).
//!
//! Everything that is broken, when and for how long, follows from the seed. What the servers and the system's scheduler make
//! of it does not, so that a seed that has found something is likely to find it again, not certain.

mod contender;
mod nemesis;
mod nodes;
mod resource;
mod run;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub use contender::serve_as_contender;
pub use nodes::{Nodes, start};
pub use run::{Outcome, Plan, run};

/// The time that all processes of one machine share.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    // Both are positive.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
