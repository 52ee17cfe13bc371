//! The judgement. Each check goes once along its sorted events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::life::{Life, Point, lives};
use super::report::{Promise, Report, Violation};
use super::{Conditions, Event, What};

pub(super) fn check(events: &[Event], conditions: &Conditions) -> Report {
    let mut in_order: Vec<(Point, &Event)> =
        events.iter().enumerate().map(|(number, event)| ((event.at, number + 1), event)).collect();
    in_order.sort_by_key(|(point, _)| *point);
    let (lives, mut violations) = lives(&in_order);
    let mut locks: BTreeMap<&str, Vec<&Life>> = BTreeMap::new();
    lives.iter().for_each(|life| locks.entry(life.lock).or_default().push(life));
    let broken = Broken::new(&conditions.disturbed);
    let mut longest_handover = Duration::ZERO;
    for lives in locks.values() {
        violations.extend(exclusion(lives));
        violations.extend(order(lives));
        let (longest, late) = hand_over(lives, &broken, conditions);
        longest_handover = longest_handover.max(longest);
        violations.extend(late);
    }
    violations.extend(lives.iter().flat_map(|life| end(life, &broken, conditions)));
    let refused = fencing(&in_order, &lives, &mut violations);
    if conditions.must_refuse && refused == 0 {
        violations.push(violation(Promise::Fencing, "no write was refused".to_owned()));
    }
    let grants = lives.iter().filter(|life| life.grant.is_some()).count();
    let losses = lives.iter().filter(|life| life.lost.is_some()).count();
    let ungranted = lives.len() - grants;
    Report { grants, ungranted, losses, refused, longest_handover, violations }
}

fn violation(promise: Promise, how: String) -> Violation {
    Violation { promise, how }
}

/// When something was broken.
struct Broken {
    /// From, and to; sorted, and none touches another.
    spans: Vec<(Duration, Duration)>,
}

impl Broken {
    fn new(disturbed: &[(Duration, Duration)]) -> Self {
        let mut sorted = disturbed.to_vec();
        sorted.sort();
        let mut spans = Vec::<(Duration, Duration)>::new();
        for (from, to) in sorted {
            match spans.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => spans.push((from, to)),
            }
        }
        Self { spans }
    }

    /// The last moment before `at` (and including it) at which something was broken.
    fn last(&self, at: Duration) -> Option<Duration> {
        let begun = self.spans.partition_point(|(from, _)| *from <= at);
        self.spans[..begun].last().map(|(_, to)| at.min(*to))
    }

    /// How long nothing was broken between these moments, counted from the last time that something was.
    fn quiet(&self, from: Duration, to: Duration) -> Duration {
        to.saturating_sub(self.last(to).map_or(from, |last| last.max(from)))
    }
}

/// At no time more is held than the limit.
fn exclusion(lives: &[&Life]) -> Vec<Violation> {
    let mut points: Vec<(Point, bool, usize)> = Vec::new();
    for (index, life) in lives.iter().enumerate() {
        let (Some(grant), end) = (life.grant, life.end_of_hold()) else { continue };
        if end.is_none_or(|end| end > grant.from) {
            points.push((grant.from, true, index));
            points.extend(end.map(|end| (end, false, index)));
        }
    }
    points.sort();
    let (mut held, mut holders, mut violations) = (0u64, BTreeSet::new(), Vec::new());
    for ((at, _), begins, index) in points {
        let life = lives[index];
        if !begins {
            held -= u64::from(life.weight);
            holders.remove(&life.number);
            continue;
        }
        held += u64::from(life.weight);
        if held > u64::from(life.limit) {
            let others: Vec<&u64> = holders.iter().take(4).collect();
            let how = format!("{} is granted {:?} beside {others:?} ({at:?})", life.number, life.lock);
            violations.push(violation(Promise::Exclusion, how));
        }
        holders.insert(life.number);
    }
    violations
}

/// Whoever is granted has a larger token than all who were granted before and cannot hold beside him.
fn order(lives: &[&Life]) -> Vec<Violation> {
    let valid =
        |life: &&&Life| life.end_of_hold().is_none_or(|end| life.grant.is_some_and(|grant| end > grant.from));
    let mut granted: Vec<_> =
        lives.iter().filter(valid).filter_map(|life| Some((life.grant?, life))).collect();
    granted.sort_by_key(|(grant, _)| grant.from);
    let (mut seen, mut heaviest, mut violations) = (BTreeSet::new(), Heaviest::default(), Vec::new());
    for (grant, life) in granted {
        if !seen.insert(grant.token) {
            let how = format!("{} has the token {} of another", life.number, grant.token);
            violations.push(violation(Promise::Order, how));
        }
        let beside = life.limit.saturating_sub(life.weight);
        if let Some(earlier) = heaviest.largest_beyond(beside).filter(|earlier| *earlier > grant.token) {
            let how = format!("{} has the token {}, {earlier} was granted before", life.number, grant.token);
            violations.push(violation(Promise::Order, how));
        }
        heaviest.add(life.weight, grant.token);
    }
    violations
}

/// The largest tokens of those so far, by weight: of two the heavier one is here only, if the lighter one has a larger token.
#[derive(Default)]
struct Heaviest {
    tokens: BTreeMap<u32, u64>,
}

impl Heaviest {
    fn add(&mut self, weight: u32, token: u64) {
        if self.tokens.range(weight..).next().is_some_and(|(_, larger)| *larger >= token) {
            return;
        }
        while let Some((lighter, _)) = self.tokens.range(..=weight).next_back().filter(|(_, t)| **t <= token)
        {
            let lighter = *lighter;
            self.tokens.remove(&lighter);
        }
        self.tokens.insert(weight, token);
    }

    /// The largest token of all that weigh more than this.
    fn largest_beyond(&self, weight: u32) -> Option<u64> {
        self.tokens.range(weight.checked_add(1)?..).next().map(|(_, token)| *token)
    }
}

/// Nobody waits for long while nothing happens; and the longest that somebody did.
fn hand_over(lives: &[&Life], broken: &Broken, conditions: &Conditions) -> (Duration, Vec<Violation>) {
    let limit = conditions.handover.unwrap_or(Duration::MAX);
    // What may let somebody in: a hold or a wait that ends.
    let ends = sorted(lives.iter().flat_map(|life| [life.end_of_hold(), life.end()]).flatten());
    // Whoever gives up waiting has left the queue some time before he says so.
    let given_up = sorted(lives.iter().filter(|life| life.grant.is_none()).filter_map(|life| life.end()));
    let (mut longest, mut violations) = (Duration::ZERO, Vec::new());
    for life in lives {
        let Some(grant) = life.grant else { continue };
        let at = grant.from.0;
        let after = given_up[given_up.partition_point(|end| *end < grant.from)..].first();
        if after.is_some_and(|left| left.0 - at <= limit) {
            continue;
        }
        let last =
            ends[..ends.partition_point(|end| *end < grant.from)].last().map_or(Duration::ZERO, |end| end.0);
        let waited = broken.quiet(last.max(life.asked.0), at);
        longest = longest.max(waited);
        if waited > limit {
            let how = format!(
                "{} waited {waited:?} for {:?} after it was free, until {at:?}",
                life.number, life.lock
            );
            violations.push(violation(Promise::HandOver, how));
        }
    }
    (longest, violations)
}

fn sorted(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut points: Vec<Point> = points.collect();
    points.sort();
    points
}

/// How one acquisition ended.
fn end(life: &Life, broken: &Broken, conditions: &Conditions) -> Vec<Violation> {
    let mut violations = Vec::new();
    let number = life.number;
    match life.end() {
        None => violations.push(violation(Promise::Answer, format!("{number} never ended"))),
        Some((over, _)) => {
            let left = life.last_seen.map_or(Duration::ZERO, |(seen, _)| broken.quiet(over, seen));
            if conditions.leftover.is_some_and(|limit| left > limit) {
                let how = format!("{number} is in the queue of {:?} {left:?} after its end", life.lock);
                violations.push(violation(Promise::NoLeftover, how));
            }
        }
    }
    violations.extend(loss(life, broken, conditions.told));
    violations
}

/// A loss is told by the deadline.
fn loss(life: &Life, broken: &Broken, told: Duration) -> Option<Violation> {
    let until = life.grant?.until?;
    let heard = [life.lost, life.given_back(), life.killed].into_iter().flatten().min();
    let late = heard.map_or(Duration::MAX, |(at, _)| broken.quiet(until, at));
    let how = || format!("{} had to be told at {until:?}, and heard {heard:?}", life.number);
    (late > told).then(|| violation(Promise::LossIsTold, how()))
}

/// What is protected takes no token below the largest that it took; how many writes it refused.
fn fencing(events: &[(Point, &Event)], lives: &[Life], violations: &mut Vec<Violation>) -> usize {
    let known: BTreeMap<u64, (&str, u64)> =
        lives.iter().filter_map(|life| Some((life.number, (life.lock, life.grant?.token)))).collect();
    let (mut taken, mut refused) = (BTreeMap::<&str, u64>::new(), 0);
    for (_, Event { acquisition, what, .. }) in events {
        let (What::Wrote { accepted }, Some((lock, token))) = (what, known.get(acquisition)) else {
            continue;
        };
        let largest = taken.entry(lock).or_default();
        let stale = token < largest;
        refused += usize::from(!accepted);
        if *accepted == stale {
            let did = if stale { "a stale" } else { "no" };
            let word = if stale { "was taken" } else { "was refused" };
            let how =
                format!("{acquisition} with {token} after {largest}: {did} token, and the write {word}");
            violations.push(violation(Promise::Fencing, how));
        }
        *largest = (*largest).max(*token);
    }
    refused
}
