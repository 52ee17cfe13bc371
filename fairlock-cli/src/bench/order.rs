//! Whether turns came in the order of their queue, and how long it took to hand the lock over.

use lockcore::queue::rule::{Verdict, verdict};

use super::turn::Turn;

/// What the turns of one queue say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// How many were granted although those ahead of them left no room.
    pub(super) overtaking: u64,
    /// From the last departure that an entry waited for until it was granted; with the time of the grant.
    pub(super) handovers: Vec<(u64, u64)>,
}

/// Judges all turns of one queue, under a limit.
///
/// An entry is in the queue at least until it begins to be given back, which is when it was granted: locks are not held
/// here. So the entries with smaller tokens that are granted later were certainly ahead.
pub(super) fn judge(limit: u32, mut turns: Vec<Turn>) -> Order {
    turns.sort_unstable_by_key(|turn| turn.token);
    let horizon = earliest_from_here(&turns);
    let mut order = Order::default();
    // Those ahead who may not have left yet, and the last departure of all others.
    let (mut ahead, mut left): (Vec<&Turn>, u64) = (Vec::new(), 0);
    for (turn, horizon) in turns.iter().zip(horizon) {
        ahead.retain(|earlier| {
            let stays = earlier.granted > horizon;
            left = if stays { left } else { left.max(earlier.granted) };
            stays
        });
        let (gone, there): (Vec<&Turn>, Vec<&Turn>) =
            ahead.iter().copied().partition(|earlier| earlier.granted <= turn.granted);
        if verdict(limit, turn.weight, there.iter().map(|earlier| earlier.weight)) != Verdict::Holds {
            order.overtaking += 1;
        }
        let departure = gone.iter().map(|earlier| earlier.granted).fold(left, u64::max);
        if departure > turn.asked {
            order.handovers.push((turn.granted, turn.granted - departure));
        }
        ahead.push(turn);
    }
    order
}

/// For each turn, when the first of it and all behind it was granted: who had left by then concerns none of them.
fn earliest_from_here(turns: &[Turn]) -> Vec<u64> {
    let mut earliest: Vec<u64> = turns
        .iter()
        .rev()
        .scan(u64::MAX, |earliest, turn| {
            *earliest = turn.granted.min(*earliest);
            Some(*earliest)
        })
        .collect();
    earliest.reverse();
    earliest
}

#[cfg(test)]
mod tests {
    use lockcore::queue::rule::UNBOUNDED;

    use super::{Order, Turn, judge};

    fn turn(token: u64, weight: u32, asked: u64, granted: u64) -> Turn {
        Turn { token, weight, asked, granted, finished: granted }
    }

    #[test]
    fn a_queue_in_order() {
        let turns = [(3, 2, 9), (1, 0, 4), (2, 1, 6), (4, 10, 12)]
            .map(|(token, asked, granted)| turn(token, UNBOUNDED, asked, granted));
        // The last one came when the lock was free.
        assert_eq!(
            judge(UNBOUNDED, turns.to_vec()),
            Order { overtaking: 0, handovers: vec![(6, 2), (9, 3)] }
        );
    }

    #[test]
    fn whoever_is_granted_before_an_earlier_one_overtakes() {
        let turns = [(1, 4), (3, 6), (2, 9)].map(|(token, granted)| turn(token, UNBOUNDED, 0, granted));
        assert_eq!(judge(UNBOUNDED, turns.to_vec()).overtaking, 1);
    }

    #[test]
    fn a_reader_that_passes_a_waiting_writer_overtakes() {
        let turns = [turn(1, 1, 0, 5), turn(2, UNBOUNDED, 0, 6), turn(3, 1, 0, 5)];
        assert_eq!(judge(UNBOUNDED, turns.to_vec()).overtaking, 1);
    }

    #[test]
    fn who_may_hold_together_may_be_seen_in_any_order() {
        let turns = [(1, 6), (2, 5), (3, 7)].map(|(token, granted)| turn(token, 1, 0, granted));
        assert_eq!(judge(2, turns.to_vec()).overtaking, 0);
        assert_eq!(judge(UNBOUNDED, turns.to_vec()).overtaking, 0);
        // A third beside two permits.
        let turns = [(1, 6), (2, 6), (3, 5)].map(|(token, granted)| turn(token, 1, 0, granted));
        assert_eq!(judge(2, turns.to_vec()).overtaking, 1);
    }
}
