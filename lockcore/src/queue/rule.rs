//! The rule of every lock, in one place: who holds, and whom a waiter has to wait for.
//!
//! A lock is a first-in-first-out queue of entries over `limit` permits. Each entry has a weight: an exclusive
//! entry weighs the whole limit, a shared one 1, a semaphore entry as many permits as it asks for.
//!
//! > An entry holds if and only if the weights of all entries up to and including it sum to at most the limit.
//!
//! Holders are therefore a prefix of the queue, and nobody's arrival or departure ever takes a hold away.
//!
//! The functions here are pure: no I/O, no clock, no async. They generalise the ZooKeeper recipes for locks,
//! shared locks (<https://zookeeper.apache.org/doc/r3.8.0/recipes.html>) and counting semaphores.

/// The limit of exclusive and shared locks: more permits than a queue can have entries.
pub const UNBOUNDED: u32 = u32::MAX;

/// What the rule says of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The entry holds.
    Holds,
    /// The entry waits, and cannot hold before one of these entries leaves. Each is given by its distance:
    /// 0 is the entry directly ahead.
    WaitsFor(Vec<usize>),
}

/// How many entries, counted from the head of the queue, hold.
///
/// # Examples
///
/// ```
/// use lockcore::queue::rule::{UNBOUNDED, holders};
///
/// let (ex, sh) = (UNBOUNDED, 1);
/// assert_eq!(holders(UNBOUNDED, [ex, sh, sh]), 1);
/// assert_eq!(holders(UNBOUNDED, [sh, sh, ex, sh]), 2); // the last one does not overtake the writer
/// assert_eq!(holders(3, [1, 2, 1]), 2);
/// ```
pub fn holders(limit: u32, weights: impl IntoIterator<Item = u32>) -> usize {
    let mut free = limit;
    weights
        .into_iter()
        .take_while(|weight| match free.checked_sub(*weight) {
            Some(rest) => {
                free = rest;
                true
            }
            None => false,
        })
        .count()
}

/// Whether an entry of weight `own` holds behind the entries whose weights are `ahead`, nearest first; and if
/// it does not, the smallest set of entries to watch.
///
/// The set is *sufficient* (while all of its members stay, the entry cannot hold) and *minimal* (no smaller
/// set is sufficient): the nearest single entry that alone leaves no room, else the heaviest entries, nearest
/// first, until together they leave no room. An exclusive entry thus watches its predecessor, a shared one the
/// last exclusive entry ahead, an entry of a semaphore of `n` the `n` entries in front of it.
///
/// An entry that asks for more than there is waits for nobody, and for ever.
///
/// Reads only as much of `ahead` as it needs: one entry for an exclusive waiter.
///
/// # Examples
///
/// ```
/// use lockcore::queue::rule::{UNBOUNDED, Verdict, verdict};
///
/// let (ex, sh) = (UNBOUNDED, 1);
/// assert_eq!(verdict(UNBOUNDED, sh, [sh, sh]), Verdict::Holds);
/// assert_eq!(verdict(UNBOUNDED, ex, [sh, sh]), Verdict::WaitsFor(vec![0]));
/// assert_eq!(verdict(UNBOUNDED, sh, [sh, ex, ex]), Verdict::WaitsFor(vec![1]));
/// assert_eq!(verdict(2, 1, [1, 1, 1]), Verdict::WaitsFor(vec![0, 1]));
/// ```
pub fn verdict(limit: u32, own: u32, ahead: impl IntoIterator<Item = u32>) -> Verdict {
    let Some(room) = limit.checked_sub(own) else {
        return Verdict::WaitsFor(Vec::new());
    };
    let mut weights = Vec::new();
    for (distance, weight) in ahead.into_iter().enumerate() {
        if weight > room {
            return Verdict::WaitsFor(vec![distance]);
        }
        weights.push(weight);
    }
    if weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() <= u64::from(room) {
        return Verdict::Holds;
    }
    Verdict::WaitsFor(heaviest_beyond(room, &weights))
}

/// The heaviest entries, nearest first among equals, until their weights exceed `room`.
fn heaviest_beyond(room: u32, weights: &[u32]) -> Vec<usize> {
    let mut distances: Vec<usize> = (0..weights.len()).collect();
    distances.sort_by_key(|distance| std::cmp::Reverse(weights[*distance]));
    let mut taken = 0u64;
    distances
        .into_iter()
        .take_while(|distance| {
            let needed = taken <= u64::from(room);
            taken += u64::from(weights[*distance]);
            needed
        })
        .collect()
}
