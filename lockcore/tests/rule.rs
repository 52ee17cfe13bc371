//! The rule, against a model that is written from its one sentence: an entry holds if and only if the weights of
//! all entries up to and including it sum to at most the limit.

use lockcore::queue::rule::{UNBOUNDED, Verdict, holders, verdict};
use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, QueuedEntry, Revision};
use proptest::collection::vec;
use proptest::prelude::*;

const EX: u32 = UNBOUNDED;
const SH: u32 = 1;

/// The rule, word for word.
fn holds(limit: u32, queue: &[u32], position: usize) -> bool {
    queue[..=position].iter().copied().map(u64::from).sum::<u64>() <= u64::from(limit)
}

fn verdict_at(limit: u32, queue: &[u32], position: usize) -> Verdict {
    verdict(limit, queue[position], queue[..position].iter().rev().copied())
}

/// The queue of those who stay, without the one at `position`, nearest first: bit 0 is the nearest.
fn staying(ahead_nearest_first: &[u32], stay: u32) -> u64 {
    let weights = ahead_nearest_first.iter().enumerate();
    weights.filter(|(distance, _)| stay & 1 << distance != 0).map(|(_, weight)| u64::from(*weight)).sum()
}

/// Whether the entry cannot hold as long as all of `members` stay, whoever else leaves.
fn sufficient(limit: u32, own: u32, ahead: &[u32], members: u32) -> bool {
    let mut queues = (0..1u32 << ahead.len()).filter(|stay| stay & members == members);
    queues.all(|stay| staying(ahead, stay) + u64::from(own) > u64::from(limit))
}

fn check_queue(limit: u32, queue: &[u32]) {
    let holding = holders(limit, queue.iter().copied());
    for position in 0..queue.len() {
        let expected = holds(limit, queue, position);
        assert_eq!(position < holding, expected, "holders({limit}, {queue:?}) = {holding}");
        match verdict_at(limit, queue, position) {
            Verdict::Holds => assert!(expected, "{position} of {queue:?} holds {limit}"),
            Verdict::WaitsFor(wake) => {
                assert!(!expected, "{position} of {queue:?} waits for {wake:?} of {limit}");
                check_wake_set(limit, queue, position, &wake);
            }
        }
    }
}

fn check_wake_set(limit: u32, queue: &[u32], position: usize, wake: &[usize]) {
    let ahead: Vec<u32> = queue[..position].iter().rev().copied().collect();
    let members = wake.iter().fold(0, |set, distance| set | 1u32 << distance);
    assert_eq!(members.count_ones() as usize, wake.len(), "{wake:?} names an entry twice");
    assert!(wake.iter().all(|distance| *distance < ahead.len()), "{wake:?} of {ahead:?}");
    let own = queue[position];
    assert!(sufficient(limit, own, &ahead, members), "{wake:?} of {ahead:?} for {own} of {limit}");
    for fewer in (0..1u32 << ahead.len()).filter(|set| set.count_ones() < members.count_ones()) {
        assert!(
            !sufficient(limit, own, &ahead, fewer),
            "{fewer:b} would do instead of {wake:?} for {own} behind {ahead:?} of {limit}"
        );
    }
}

/// All sequences of at most `longest` of these weights.
fn queues(weights: &[u32], longest: u32) -> impl Iterator<Item = Vec<u32>> + '_ {
    (0..=longest).flat_map(move |length| {
        let choices = weights.len();
        (0..choices.pow(length)).map(move |number| {
            (0..length).map(|digit| weights[number / choices.pow(digit) % choices]).collect()
        })
    })
}

#[test]
fn every_short_queue_of_exclusive_and_shared() {
    for queue in queues(&[EX, SH], 5) {
        check_queue(UNBOUNDED, &queue);
    }
}

#[test]
fn every_short_queue_of_a_small_semaphore() {
    for limit in 1..=4 {
        let weights: Vec<u32> = (1..=limit).collect();
        for queue in queues(&weights, 5) {
            check_queue(limit, &queue);
        }
    }
}

/// Entries of other software may ask for what there is not.
#[test]
fn every_short_queue_with_weights_beyond_the_limit() {
    for limit in 0..=2 {
        for queue in queues(&[0, 1, 2, 3, u32::MAX], 4) {
            check_queue(limit, &queue);
        }
    }
}

fn weights() -> impl Strategy<Value = (u32, Vec<u32>)> {
    let extreme = || prop_oneof![Just(0), Just(1), Just(u32::MAX - 1), Just(u32::MAX), any::<u32>()];
    prop_oneof![
        (0..12u32).prop_flat_map(|limit| (Just(limit), vec(0..=limit + 1, 0..=8))),
        (Just(UNBOUNDED), vec(prop_oneof![Just(EX), Just(SH)], 0..=8)),
        (extreme(), vec(extreme(), 0..=8)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_queue((limit, queue) in weights()) {
        check_queue(limit, &queue);
    }

    #[test]
    fn an_arrival_takes_no_hold_away((limit, queue) in weights(), arrival: u32) {
        let before = holders(limit, queue.iter().copied());
        let after = holders(limit, queue.iter().copied().chain([arrival]));
        prop_assert!(before <= after);
    }

    #[test]
    fn a_departure_takes_no_hold_away((limit, mut queue) in weights(), leaver: prop::sample::Index) {
        prop_assume!(!queue.is_empty());
        let leaver = leaver.index(queue.len());
        let before = holders(limit, queue.iter().copied());
        queue.remove(leaver);
        let stayed = before - usize::from(leaver < before);
        prop_assert!(stayed <= holders(limit, queue));
    }

    #[test]
    fn the_standing_of_an_entry_is_the_verdict_on_it((limit, queue) in semaphore()) {
        let entries: Vec<QueuedEntry> = queue.iter().enumerate().map(|(id, k)| entry(id, *k, limit)).collect();
        for (position, own) in entries.iter().enumerate() {
            let expected = match verdict_at(limit, &queue, position) {
                Verdict::Holds => Standing::Holds,
                Verdict::WaitsFor(wake) => Standing::Waits {
                    wake: wake.iter().map(|distance| entries[position - 1 - distance].id.clone()).collect(),
                    seen: Revision(7),
                },
            };
            prop_assert_eq!(standing(&entries, &own.id, Revision(7)), expected);
        }
    }

    /// Also when programs disagree on the number of permits.
    #[test]
    fn no_departure_or_arrival_changes_the_standing_of_a_holder(
        queue in vec(permits_of_some_limit(), 1..6),
        leaver: prop::sample::Index,
        arrival in permits_of_some_limit(),
    ) {
        let mut entries: Vec<QueuedEntry> =
            queue.iter().enumerate().map(|(id, (k, limit))| entry(id, *k, *limit)).collect();
        let holding: Vec<EntryId> = entries.iter().map(|entry| entry.id.clone())
            .filter(|id| standing(&entries, id, Revision(0)) == Standing::Holds).collect();
        let gone = entries.remove(leaver.index(entries.len())).id;
        entries.push(entry(queue.len(), arrival.0, arrival.1));
        for holder in holding.iter().filter(|id| **id != gone) {
            prop_assert_eq!(standing(&entries, holder, Revision(0)), Standing::Holds);
        }
    }

    /// The permits in use are at most what each of their users thinks there are.
    #[test]
    fn holders_that_disagree_on_the_limit_exceed_nobodys(queue in vec(permits_of_some_limit(), 1..6)) {
        let entries: Vec<QueuedEntry> =
            queue.iter().enumerate().map(|(id, (k, limit))| entry(id, *k, *limit)).collect();
        let holding: Vec<EntryKind> = entries.iter()
            .filter(|entry| standing(&entries, &entry.id, Revision(0)) == Standing::Holds)
            .map(|entry| entry.kind).collect();
        let used: u32 = holding.iter().map(|kind| kind.weight()).sum();
        prop_assert!(holding.iter().all(|kind| used <= kind.limit()), "{:?}", holding);
    }
}

/// Programs that disagree on the limit, and other software, which knows none.
fn permits_of_some_limit() -> impl Strategy<Value = (u32, u32)> {
    (1..3u32, prop_oneof![1..4u32, Just(UNBOUNDED)])
}

fn semaphore() -> impl Strategy<Value = (u32, Vec<u32>)> {
    (1..6u32).prop_flat_map(|limit| (Just(limit), vec(1..=limit, 1..8)))
}

fn entry(id: usize, permits: u32, limit: u32) -> QueuedEntry {
    QueuedEntry { id: id.to_string().as_str().into(), kind: EntryKind::Permits { permits, limit } }
}

#[test]
fn the_example_of_the_design_takes_five_turns() {
    let queue = ["ex0", "sh1", "sh2", "sh3", "ex4", "ex5", "sh6", "sh7"];
    let weight = |name: &&str| if name.starts_with("ex") { EX } else { SH };
    let mut waiting = &queue[..];
    let mut turns = Vec::new();
    while !waiting.is_empty() {
        let (turn, rest) = waiting.split_at(holders(UNBOUNDED, waiting.iter().map(weight)));
        turns.push(turn.join("+"));
        waiting = rest;
    }
    assert_eq!(turns, ["ex0", "sh1+sh2+sh3", "ex4", "ex5", "sh6+sh7"]);
}

#[test]
fn an_exclusive_waiter_watches_its_predecessor_and_reads_no_further() {
    for predecessor in [EX, SH] {
        let ahead = std::iter::once(predecessor).chain(std::iter::from_fn(|| panic!("read too far")));
        assert_eq!(verdict(UNBOUNDED, EX, ahead), Verdict::WaitsFor(vec![0]));
    }
}

#[test]
fn a_shared_waiter_watches_the_last_exclusive_entry_ahead() {
    assert_eq!(verdict(UNBOUNDED, SH, [SH, SH, EX, SH, EX]), Verdict::WaitsFor(vec![2]));
    assert_eq!(verdict(UNBOUNDED, SH, [SH; 100]), Verdict::Holds);
}

#[test]
fn a_waiter_for_one_permit_of_n_watches_the_n_entries_ahead() {
    for limit in 1..=8u32 {
        let nearest: Vec<usize> = (0..limit as usize).collect();
        assert_eq!(verdict(limit, 1, [1; 20]), Verdict::WaitsFor(nearest));
    }
}

/// Nobody's departure lets it in.
#[test]
fn what_is_heavier_than_the_limit_waits_for_nobody() {
    for (limit, own) in [(0, 1), (3, 4), (u32::MAX - 1, u32::MAX)] {
        assert_eq!(holders(limit, [own]), 0);
        assert_eq!(verdict(limit, own, []), Verdict::WaitsFor(Vec::new()));
        assert_eq!(verdict(limit, own, [1, 1]), Verdict::WaitsFor(Vec::new()));
    }
}

#[test]
fn sums_do_not_overflow() {
    assert_eq!(holders(u32::MAX, [u32::MAX, u32::MAX]), 1);
    let ahead = [u32::MAX / 2, u32::MAX / 2, u32::MAX / 2];
    assert_eq!(verdict(u32::MAX, u32::MAX / 2, ahead), Verdict::WaitsFor(vec![0, 1]));
}

#[test]
fn an_entry_that_is_not_there_is_absent() {
    let entries = [entry(0, 1, 1)];
    assert_eq!(standing(&entries, &"1".into(), Revision(0)), Standing::Absent);
    assert_eq!(standing(&[], &"1".into(), Revision(0)), Standing::Absent);
}

#[test]
fn whoever_comes_later_with_another_limit_is_told_so() {
    let entries = [entry(0, 1, 2), entry(1, 1, 3)];
    assert_eq!(standing(&entries, &"0".into(), Revision(0)), Standing::Holds);
    assert_eq!(standing(&entries, &"1".into(), Revision(0)), Standing::LimitMismatch { theirs: 2 });
}
