//! Figures from what was seen: of a round, and over all rounds.

use serde::Serialize;

use super::meter::Usage;
use super::order::{Order, judge};
use super::turn::{Round, Turn};

/// What one round says. Durations are in nanoseconds.
pub(super) struct Sample {
    pub(super) rate: f64,
    pub(super) acquire: Vec<u64>,
    pub(super) cycle: Vec<u64>,
    pub(super) handover: Vec<u64>,
    /// Of each contender.
    pub(super) grants: Vec<u64>,
    pub(super) overtaking: u64,
    /// Per grant.
    pub(super) usage: Usage,
}

impl Sample {
    /// Of a round over one lock with this limit, or over a lock for each contender.
    pub(super) fn of(round: Round, limit: u32, one_lock: bool) -> Self {
        let Round { turns, window: (begin, end), every, usage } = round;
        let inside = |at: u64| begin <= at && at < end;
        let counted = || turns.iter().flatten().filter(|turn| inside(turn.granted));
        let (mut acquire, mut cycle): (Vec<u64>, Vec<u64>) =
            counted().map(|turn| (turn.granted - turn.asked, turn.finished - turn.asked)).unzip();
        let count =
            |turns: &Vec<Turn>| turns.iter().filter(|turn| inside(turn.granted)).count() as u64 * every;
        let grants: Vec<u64> = turns.iter().map(count).collect();
        let all: f64 = grants.iter().sum::<u64>() as f64;
        let orders: Vec<Order> = match one_lock {
            true => vec![judge(limit, turns.concat())],
            false => turns.into_iter().map(|turns| judge(limit, turns)).collect(),
        };
        let handed = orders.iter().flat_map(|order| &order.handovers);
        let mut handover: Vec<u64> =
            handed.filter(|(at, _)| inside(*at)).map(|(_, duration)| *duration).collect();
        [&mut acquire, &mut cycle, &mut handover].into_iter().for_each(|durations| durations.sort_unstable());
        Self {
            rate: all / ((end - begin) as f64 / 1e9),
            acquire,
            cycle,
            handover,
            grants,
            overtaking: orders.iter().map(|order| order.overtaking).sum(),
            usage: if all > 0.0 { usage.per(all) } else { Usage::default() },
        }
    }
}

/// A median with the least and the greatest of what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// Percentiles in microseconds: medians of those of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Percentiles {
    fn of(rounds: &[&[u64]]) -> Option<Self> {
        let median = |share| Spread::of(rounds.iter().filter_map(|sorted| percentile(sorted, share)));
        Some(Self { p50: median(0.5)?.median, p99: median(0.99)?.median })
    }
}

/// The value that this share of all does not exceed, in microseconds.
fn percentile(sorted: &[u64], share: f64) -> Option<f64> {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.saturating_sub(1)).map(|nanoseconds| *nanoseconds as f64 / 1e3)
}

/// What all rounds say. Part of the JSON that the help documents: fields may be added, not changed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    pub(super) grants_per_second: Option<Spread>,
    pub(super) acquire_us: Option<Percentiles>,
    pub(super) cycle_us: Option<Percentiles>,
    pub(super) handover_us: Option<Percentiles>,
    pub(super) requests_per_grant: Option<f64>,
    pub(super) commands_per_grant: Option<f64>,
    pub(super) bytes_per_grant: Option<f64>,
    pub(super) server_cpu_us_per_grant: Option<f64>,
}

impl Figures {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let percentiles = |of: fn(&Sample) -> &Vec<u64>| {
            Percentiles::of(&samples.iter().map(|sample| of(sample).as_slice()).collect::<Vec<_>>())
        };
        let usage = |of: fn(&Usage) -> Option<f64>| {
            Spread::of(samples.iter().filter_map(|sample| of(&sample.usage))).map(|spread| spread.median)
        };
        Self {
            grants_per_second: Spread::of(samples.iter().map(|sample| sample.rate)),
            acquire_us: percentiles(|sample| &sample.acquire),
            cycle_us: percentiles(|sample| &sample.cycle),
            handover_us: percentiles(|sample| &sample.handover),
            requests_per_grant: usage(|usage| usage.requests),
            commands_per_grant: usage(|usage| usage.commands),
            bytes_per_grant: usage(|usage| usage.bytes),
            server_cpu_us_per_grant: usage(|usage| usage.cpu).map(|seconds| seconds * 1e6),
        }
    }
}

/// How evenly the grants fell on the contenders: 1 if all got as many, 1/n if one got all
/// (<https://arxiv.org/abs/cs/9809099>).
pub(super) fn jain(samples: &[Sample]) -> Option<f64> {
    let contenders = samples.first()?.grants.len();
    let of = |contender| samples.iter().map(|sample| sample.grants[contender]).sum::<u64>() as f64;
    let grants: Vec<f64> = (0..contenders).map(of).collect();
    let (sum, squares): (f64, f64) = (grants.iter().sum(), grants.iter().map(|grants| grants * grants).sum());
    (squares > 0.0).then(|| sum * sum / (contenders as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(grants: &[u64]) -> Sample {
        Sample {
            rate: 0.0,
            acquire: vec![],
            cycle: vec![],
            handover: vec![],
            grants: grants.to_vec(),
            overtaking: 0,
            usage: Usage::default(),
        }
    }

    #[test]
    fn medians_and_what_they_stand_for() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]).map(|spread| spread.median), Some(3.0));
    }

    #[test]
    fn percentiles() {
        let hundred: Vec<u64> = (1..=100).map(|us| us * 1000).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&[7000], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn fairness_by_the_grants_of_each() {
        assert_eq!(jain(&[sample(&[5, 5, 5])]), Some(1.0));
        assert_eq!(jain(&[sample(&[9, 0, 0])]), Some(1.0 / 3.0));
        assert_eq!(jain(&[sample(&[1, 2]), sample(&[2, 1])]), Some(1.0));
        assert_eq!(jain(&[sample(&[0, 0])]), None);
    }

    #[test]
    fn only_the_window_counts() {
        let turn =
            |token, granted| Turn { token, weight: 1, asked: granted - 1, granted, finished: granted + 2 };
        let turns = vec![vec![turn(1, 5), turn(3, 10)], vec![turn(2, 7), turn(4, 19), turn(5, 20)]];
        let usage = Usage { requests: Some(12.0), ..Usage::default() };
        let sample = Sample::of(Round { turns, window: (7, 20), every: 1, usage }, 1, true);
        assert_eq!(sample.grants, [1, 2]);
        assert_eq!((sample.acquire, sample.cycle), (vec![1, 1, 1], vec![3, 3, 3]));
        assert_eq!((sample.usage.requests, sample.overtaking), (Some(4.0), 0));
        assert!((sample.rate - 3.0 / 13e-9).abs() < 1.0);
    }
}
