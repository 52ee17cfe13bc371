//! The checker of histories: one that the rule allows passes, and each broken promise is found.

use std::time::Duration;

use conformance::history::{Conditions, Event, History, Promise, Report, What};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ALL: u32 = u32::MAX;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A history in which each event comes a millisecond after the one before, unless it says when.
#[derive(Default)]
struct Story {
    history: History,
    now: u64,
}

impl Story {
    fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    fn then(mut self, acquisition: u64, what: What) -> Self {
        self.history.push(Event { at: ms(self.now), acquisition, what });
        self.now += 1;
        self
    }

    fn asks(self, acquisition: u64, weight: u32, limit: u32) -> Self {
        self.then(acquisition, What::Asked { lock: "a".to_owned(), weight, limit })
    }

    fn granted(self, acquisition: u64, token: u64) -> Self {
        self.then(acquisition, What::Granted { token, until: None })
    }

    fn over(self, acquisition: u64) -> Self {
        self.then(acquisition, What::Over)
    }

    fn check(&self) -> Report {
        self.history.check(&conditions())
    }

    /// The only promise that is broken.
    fn breaks(&self) -> Promise {
        let violations = self.check().violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].promise
    }
}

fn conditions() -> Conditions {
    Conditions { handover: Some(ms(1000)), leftover: Some(ms(1000)), told: ms(100), ..Conditions::default() }
}

/// Two exclusive acquisitions have been asked for.
fn two() -> Story {
    Story::default().asks(1, ALL, ALL).asks(2, ALL, ALL)
}

#[test]
fn turns_that_are_taken_in_order_break_nothing() {
    let story = two().granted(1, 10).over(1).granted(2, 20).then(2, What::Wrote { accepted: true }).over(2);
    let report = story.check();
    assert_eq!((report.violations, report.grants), (Vec::new(), 2));
}

#[test]
fn readers_may_hold_together_and_be_seen_in_any_order() {
    let story =
        Story::default().asks(1, 1, ALL).asks(2, 1, ALL).granted(2, 20).granted(1, 10).over(1).over(2);
    assert_eq!(story.check().violations, []);
}

#[test]
fn two_holders_of_an_exclusive_lock_are_found() {
    assert_eq!(two().granted(1, 10).granted(2, 20).over(1).over(2).breaks(), Promise::Exclusion);
}

#[test]
fn a_reader_beside_a_writer_is_found() {
    let story =
        Story::default().asks(1, 1, ALL).asks(2, ALL, ALL).granted(1, 10).granted(2, 20).over(1).over(2);
    assert_eq!(story.breaks(), Promise::Exclusion);
}

#[test]
fn a_permit_too_many_is_found() {
    let story = Story::default().asks(1, 2, 3).asks(2, 1, 3).asks(3, 1, 3);
    let story = story.granted(1, 10).granted(2, 20).granted(3, 30).over(1).over(2).over(3);
    assert_eq!(story.breaks(), Promise::Exclusion);
}

#[test]
fn a_grant_before_the_deadline_of_a_holder_that_was_not_told_is_found() {
    let held = What::Granted { token: 10, until: Some(ms(500)) };
    let story =
        two().then(1, held.clone()).at(400).granted(2, 20).over(2).at(500).then(1, What::Lost).over(1);
    assert_eq!(story.breaks(), Promise::Exclusion);
    let story = two().then(1, held).at(500).granted(2, 20).over(2).then(1, What::Lost).over(1);
    assert_eq!(story.check().violations, [], "a deadline ends a hold, whether it is told or not");
}

#[test]
fn a_smaller_token_after_a_larger_one_is_found() {
    assert_eq!(two().granted(1, 20).over(1).granted(2, 10).over(2).breaks(), Promise::Order);
}

#[test]
fn a_small_request_that_overtook_a_large_one_is_found() {
    let story = Story::default().asks(1, 1, 3).asks(2, 3, 3).asks(3, 1, 3);
    let story = story.granted(1, 10).granted(3, 30).over(1).over(3).granted(2, 20).over(2);
    assert_eq!(story.breaks(), Promise::Order);
}

#[test]
fn a_token_that_two_have_is_found() {
    let story =
        Story::default().asks(1, 1, ALL).asks(2, 1, ALL).granted(1, 10).granted(2, 10).over(1).over(2);
    assert_eq!(story.breaks(), Promise::Order);
}

#[test]
fn a_late_hand_over_is_found_unless_something_was_broken() {
    let story = two().granted(1, 10).over(1).at(3000).granted(2, 20).over(2);
    assert_eq!(story.breaks(), Promise::HandOver);
    let broken = Conditions { disturbed: vec![(ms(2), ms(1500)), (ms(1000), ms(2500))], ..conditions() };
    assert_eq!(story.history.check(&broken).violations, []);
}

#[test]
fn whoever_gives_up_lets_others_in_before_he_says_so() {
    let story = two().asks(3, 1, ALL).granted(1, 10).over(1).at(3000).granted(3, 30).over(3).over(2);
    assert_eq!(story.check().violations, []);
}

#[test]
fn an_entry_that_is_left_behind_is_found() {
    let story = two().granted(1, 10).over(1).over(2).at(5000).then(2, What::Seen);
    assert_eq!(story.breaks(), Promise::NoLeftover);
}

#[test]
fn an_acquisition_without_an_answer_is_found() {
    assert_eq!(two().granted(1, 10).over(1).breaks(), Promise::Answer);
    assert_eq!(two().granted(1, 10).over(1).then(2, What::Killed).check().violations, []);
}

#[test]
fn a_guard_for_whoever_was_told_that_he_has_none_is_found() {
    assert_eq!(two().over(1).granted(1, 10).over(2).breaks(), Promise::Answer);
}

#[test]
fn a_loss_that_is_told_late_is_found() {
    let granted = What::Granted { token: 10, until: Some(ms(500)) };
    let story = two().over(2).then(1, granted).at(700).then(1, What::Lost).over(1);
    assert_eq!(story.breaks(), Promise::LossIsTold);
}

#[test]
fn a_guard_that_is_valid_after_its_loss_or_its_deadline_is_found() {
    let valid = || What::Valid { until: Some(ms(900)) };
    let granted = || What::Granted { token: 10, until: Some(ms(500)) };
    let story = two().over(2).then(1, granted()).then(1, What::Lost).then(1, valid()).over(1);
    assert_eq!(story.breaks(), Promise::LossIsTold);
    let old = What::Valid { until: Some(ms(500)) };
    let story = two().over(2).then(1, granted()).at(501).then(1, old).over(1);
    assert_eq!(story.breaks(), Promise::LossIsTold);
}

#[test]
fn a_stale_write_that_was_taken_is_found() {
    let story = two().granted(1, 10).then(1, What::Lost).granted(2, 20);
    let story = story.then(2, What::Wrote { accepted: true }).then(1, What::Wrote { accepted: true });
    assert_eq!(story.over(1).over(2).breaks(), Promise::Fencing);
}

#[test]
fn a_good_write_that_was_refused_is_found() {
    let story = two().granted(1, 10).then(1, What::Wrote { accepted: false }).over(1).over(2);
    assert_eq!(story.breaks(), Promise::Fencing);
}

#[test]
fn a_pause_after_which_nothing_was_refused_is_found() {
    let conditions = Conditions { must_refuse: true, ..conditions() };
    let violations = two().over(1).over(2).history.check(&conditions).violations;
    assert_eq!(violations.iter().map(|violation| violation.promise).collect::<Vec<_>>(), [Promise::Fencing]);
}

#[test]
fn what_makes_no_sense_is_found() {
    assert_eq!(two().over(1).over(2).over(3).breaks(), Promise::Sense);
    assert_eq!(two().asks(1, ALL, ALL).over(1).over(2).breaks(), Promise::Sense);
    assert_eq!(two().granted(1, 10).granted(1, 10).over(1).over(2).breaks(), Promise::Sense);
}

/// A queue of semaphore entries that comes and goes as the rule says.
fn honest(seed: u64, acquisitions: u64) -> Story {
    const LIMIT: u32 = 5;
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut story, mut queue) = (Story::default(), Vec::<(u64, u32, bool)>::new());
    let mut next = 1;
    while next <= acquisitions || !queue.is_empty() {
        let comes = next <= acquisitions && (queue.len() < 2 || (queue.len() < 20 && rng.random()));
        if comes {
            let weight = rng.random_range(1..=LIMIT);
            story = story.asks(next, weight, LIMIT);
            queue.push((next, weight, false));
            next += 1;
        } else {
            let (number, ..) = queue.remove(rng.random_range(0..queue.len()));
            story = story.over(number);
        }
        let mut held = 0;
        for (number, weight, has) in &mut queue {
            held += *weight;
            if held > LIMIT {
                break;
            }
            if !std::mem::replace(has, true) {
                story = story.granted(*number, *number);
            }
        }
    }
    story
}

#[test]
fn random_honest_histories_break_nothing() {
    for seed in 0..50 {
        let report = honest(seed, 100).check();
        assert_eq!(report.violations, [], "seed {seed}");
    }
}

/// As many as a long run has; whoever compares each with each does not come to an end here.
#[test]
fn a_history_of_three_hundred_thousand_acquisitions_is_judged() {
    let report = honest(1, 300_000).check();
    assert_eq!(report.violations, []);
    assert!(report.grants > 10_000, "{report}");
}
