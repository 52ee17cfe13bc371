//! The trials, one file for each group. Each is named after what it asserts.

mod cancellation;
mod cleanup;
mod closing;
mod contention;
mod disconnect;
mod drops;
mod election;
mod exclusion;
mod fairness;
mod fencing;
mod loss;
mod names;
mod once;
mod operator;
mod outage;
mod processes;
mod record;
mod release;
mod semaphore;
mod sessions;
mod several;
mod shared;
mod timeout;
mod tries;
mod view;

use crate::trial::Trial;

/// All groups.
pub(crate) const ALL: &[&[Trial]] = &[
    exclusion::TRIALS,
    fairness::TRIALS,
    shared::TRIALS,
    semaphore::TRIALS,
    tries::TRIALS,
    timeout::TRIALS,
    cancellation::TRIALS,
    drops::TRIALS,
    release::TRIALS,
    fencing::TRIALS,
    loss::TRIALS,
    sessions::TRIALS,
    disconnect::TRIALS,
    outage::TRIALS,
    operator::TRIALS,
    names::TRIALS,
    view::TRIALS,
    cleanup::TRIALS,
    closing::TRIALS,
    contention::TRIALS,
    several::TRIALS,
    election::TRIALS,
    record::TRIALS,
    once::TRIALS,
    processes::TRIALS,
];

/// The trials of a group, each an async function of this module, with what they need of the fixture.
macro_rules! trials {
    ($group:literal, $($needs:ident: [$($name:ident),+ $(,)?]),+ $(,)?) => {
        pub(super) const TRIALS: &[$crate::trial::Trial] = &[$($(
            $crate::trial::Trial {
                group: $group,
                name: stringify!($name),
                needs: $crate::trial::Needs::$needs,
                run: |context| Box::pin($name(context)),
            }
        ),+),+];
    };
}
use trials;

/// What every file of this folder uses.
mod prelude {
    pub(super) use std::time::Duration;

    pub(super) use lockcore::{
        AcquireOptions, DistributedLock, DistributedLockExt, ErrorKind, LockService, Loss, Released, Wait,
    };

    pub(super) use super::trials;
    pub(super) use crate::context::Context;
    pub(super) use crate::failure::{Failure, Verdict, check};
}
