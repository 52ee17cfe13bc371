//! The lease of a session: never believed in for longer than the server is sure to keep it.

use std::collections::BTreeSet;
use std::time::Duration;

use lockcore::session::{Clock, Lease, LeaseClock, LeaseState, Loss, Moment, SessionState};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, Copy)]
enum Heard {
    /// The answer to a renewal that was sent so many milliseconds ago.
    Answer {
        ago: u64,
    },
    Doubt,
    End(Loss),
    Nothing,
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        4 => (0..15_000u64).prop_map(|ago| Heard::Answer { ago }),
        2 => Just(Heard::Doubt),
        1 => prop::sample::select(vec![Loss::Expired, Loss::Closed]).prop_map(Heard::End),
        4 => Just(Heard::Nothing),
    ]
}

/// What we may believe, in plain milliseconds: the sending of the latest acknowledged renewal counts.
struct Belief {
    granted: u64,
    acknowledged: u64,
    in_doubt: bool,
    lost: Option<Loss>,
}

impl Belief {
    fn time_passes(&mut self, now: u64) {
        if 5 * (now - self.acknowledged.min(now)) >= 4 * self.granted {
            self.lost = self.lost.or(Some(Loss::Deadline));
        }
    }

    fn hear(&mut self, now: u64, heard: Heard) {
        match heard {
            Heard::Answer { ago } => {
                self.acknowledged = self.acknowledged.max(now.saturating_sub(ago));
                self.in_doubt = false;
            }
            Heard::Doubt => self.in_doubt = true,
            Heard::End(loss) => self.lost = self.lost.or(Some(loss)),
            Heard::Nothing => {}
        }
    }

    fn agrees(&self, state: LeaseState) -> bool {
        match state {
            LeaseState::Lost(loss) => self.lost == Some(loss),
            LeaseState::Doubtful { .. } => self.lost.is_none() && self.in_doubt,
            LeaseState::Live => self.lost.is_none() && !self.in_doubt,
            other => panic!("a state that this test does not know: {other:?}"),
        }
    }
}

fn hear(clock: &mut LeaseClock, origin: Moment, now: u64, heard: Heard) {
    match heard {
        Heard::Answer { ago } => clock.renewed(origin + ms(now.saturating_sub(ago))),
        Heard::Doubt => clock.doubt(),
        Heard::End(loss) => clock.end(loss),
        Heard::Nothing => {}
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_clock_believes_no_longer_than_it_may(
        granted in (1..=4_000u64).prop_map(|fifth| 5 * fifth),
        events in prop::collection::vec((0..6_000u64, heard()), 1..40),
    ) {
        let origin = Clock::Boot.now();
        let mut clock = LeaseClock::new(Some(ms(granted)), origin);
        let mut belief = Belief { granted, acknowledged: 0, in_doubt: false, lost: None };
        let mut now = 0;
        for (passed, heard_now) in events {
            now += passed;
            belief.time_passes(now);
            prop_assert!(belief.agrees(clock.state(origin + ms(now))), "before {heard_now:?} at {now}");
            belief.hear(now, heard_now);
            hear(&mut clock, origin, now, heard_now);
            belief.time_passes(now);
            prop_assert!(belief.agrees(clock.state(origin + ms(now))), "after {heard_now:?} at {now}");
        }
    }

    #[test]
    fn an_answer_out_of_order_never_shortens(
        granted in 1..60_000u64,
        sent in prop::collection::vec(0..10_000u64, 1..20),
    ) {
        let origin = Clock::Boot.now();
        let mut clock = LeaseClock::new(Some(ms(granted)), origin);
        for sent in sent {
            let before = clock.deadline();
            clock.renewed(origin + ms(sent));
            prop_assert!(clock.deadline() >= before);
        }
    }

    /// The renewal before the last acknowledged one, too, keeps the session alive until we call it lost.
    #[test]
    fn renewals_are_closer_than_the_margin_is_wide(granted in 1..=10_000_000u64) {
        let origin = Clock::Boot.now();
        let clock = LeaseClock::new(Some(ms(granted)), origin);
        let interval = clock.renewal_interval().unwrap();
        let margin = clock.deadline().unwrap().until(origin + ms(granted));
        prop_assert!(Duration::ZERO < interval && interval < margin);
    }
}

#[test]
fn a_session_without_a_limit_lasts_until_it_is_ended() {
    let now = Clock::Boot.now();
    let mut clock = LeaseClock::new(None, now);
    assert_eq!(clock.renewal_interval(), None);
    assert_eq!(clock.state(now + Duration::MAX), LeaseState::Live);
    clock.doubt();
    assert_eq!(clock.state(now), LeaseState::Doubtful { until: None });
    clock.end(Loss::Closed);
    clock.end(Loss::Expired);
    assert_eq!(clock.state(now), LeaseState::Lost(Loss::Closed));
}

#[test]
fn the_longest_grant_does_not_overflow() {
    let now = Clock::Boot.now();
    let mut clock = LeaseClock::new(Some(Duration::MAX), now);
    assert_eq!(clock.state(now), LeaseState::Live);
}

const GRANTED: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_millis(1);

fn lease(granted: Option<Duration>) -> Lease {
    let clock = Clock::tokio();
    Lease::new(clock, granted, clock.now())
}

/// When the loss is told, from now; `None` if it is not told within an hour.
async fn told(lease: &Lease) -> Option<Duration> {
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(3600), lease.lost()).await.ok().map(|_| start.elapsed())
}

#[tokio::test]
async fn a_session_is_renewed_six_times_in_its_time() {
    assert_eq!(lease(Some(GRANTED)).renewal_interval(), Some(GRANTED / 6));
    assert_eq!(lease(None).renewal_interval(), None);
}

#[test]
fn every_loss_has_words_of_its_own() {
    let all = [Loss::Expired, Loss::Deadline, Loss::Removed, Loss::Closed, Loss::Abandoned];
    let words: BTreeSet<String> = all.iter().map(Loss::to_string).collect();
    assert!(words.len() == all.len() && !words.contains(""), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn the_loss_is_told_at_the_deadline_and_not_before() {
    let lease = lease(Some(GRANTED));
    sleep(DEADLINE - TICK).await;
    assert_eq!(lease.state(), SessionState::Live);
    assert_eq!(lease.remaining(), Some(TICK));
    assert!(told(&lease).await.unwrap() <= 2 * TICK);
    assert_eq!(lease.state(), SessionState::Lost(Loss::Deadline));
    assert_eq!(lease.remaining(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_its_sending() {
    let lease = lease(Some(GRANTED));
    sleep(Duration::from_secs(3)).await;
    let sent = lease.now();
    sleep(Duration::from_secs(4)).await;
    lease.renewed(sent);
    let told = told(&lease).await.unwrap();
    assert!((Duration::from_secs(4)..=Duration::from_secs(4) + TICK).contains(&told), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waited_for_comes_too_late() {
    let lease = lease(Some(GRANTED));
    let sent = lease.now() + (DEADLINE - TICK);
    sleep(DEADLINE).await;
    lease.renewed(sent);
    assert_eq!(lease.state(), SessionState::Lost(Loss::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_lifted_by_the_next_answer() {
    let lease = lease(Some(GRANTED));
    lease.doubt();
    let deadline = (Instant::now() + DEADLINE).into_std();
    assert_eq!(lease.state(), SessionState::Doubtful { until: Some(deadline) });
    lease.renewed(lease.now());
    assert_eq!(lease.state(), SessionState::Live);
}

#[tokio::test(start_paused = true)]
async fn a_state_says_what_is_known_of_the_session() {
    let lease = lease(Some(GRANTED));
    assert_eq!(lease.state().to_string(), "live");
    lease.doubt();
    sleep(DEADLINE - TICK - Duration::from_secs(2)).await;
    let state = lease.state();
    assert_eq!(state.to_string(), "in doubt: the server does not answer; lost in 2.0s if that stays so");
    let SessionState::Doubtful { until: Some(until) } = state else { panic!("{state:?}") };
    tokio::time::sleep_until(until.into()).await;
    let text = "lost: the server was out of reach for longer than the session lasts";
    assert_eq!(lease.state().to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_at_once_to_all_clones() {
    let lease = lease(None);
    let waiting = tokio::spawn({
        let lease = lease.clone();
        async move { lease.lost().await }
    });
    tokio::task::yield_now().await;
    lease.end(Loss::Expired);
    assert_eq!(waiting.await.unwrap(), Loss::Expired);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_loss_hears_of_a_limit_that_was_not_there_before() {
    let lease = lease(None);
    let waiting = tokio::spawn({
        let lease = lease.clone();
        async move { told(&lease).await }
    });
    tokio::task::yield_now().await;
    lease.grant(Some(GRANTED));
    let told = waiting.await.unwrap().expect("the loss was never told");
    assert!((DEADLINE..=DEADLINE + TICK).contains(&told), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_loss_hears_of_a_shorter_grant() {
    let lease = lease(Some(Duration::from_secs(3600)));
    let waiting = tokio::spawn({
        let lease = lease.clone();
        async move { told(&lease).await }
    });
    tokio::task::yield_now().await;
    lease.grant(Some(Duration::from_millis(500)));
    let told = waiting.await.unwrap().unwrap();
    assert!((ms(400)..=ms(401)).contains(&told), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn every_change_of_state_is_told() {
    let lease = lease(Some(GRANTED));
    for (change, state) in [
        (Heard::Doubt, SessionState::Doubtful { until: Some((Instant::now() + DEADLINE).into_std()) }),
        (Heard::Answer { ago: 0 }, SessionState::Live),
        (Heard::End(Loss::Closed), SessionState::Lost(Loss::Closed)),
    ] {
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { lease.left(lease.state()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        match change {
            Heard::Answer { .. } => lease.renewed(lease.now()),
            Heard::Doubt => lease.doubt(),
            Heard::End(loss) => lease.end(loss),
            Heard::Nothing => {}
        }
        assert_eq!(waiting.await.unwrap(), state);
    }
}

/// At half of four fifths of the granted time, counted from when the last acknowledged renewal was sent.
#[tokio::test(start_paused = true)]
async fn the_warning_comes_half_way_to_the_deadline() {
    let clock = Clock::tokio();
    let lease = Lease::new(clock, Some(ms(10_000)), clock.now());
    let began = Instant::now();
    lease.at_risk().await;
    assert_eq!(began.elapsed(), ms(4_000));
    assert_eq!(lease.state(), SessionState::Live);
    lease.lost().await;
    assert_eq!(began.elapsed(), ms(8_000));
    lease.at_risk().await;
    assert_eq!(began.elapsed(), ms(8_000), "what is lost is at risk at once");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_puts_the_warning_off() {
    let clock = Clock::tokio();
    let lease = Lease::new(clock, Some(ms(10_000)), clock.now());
    let began = Instant::now();
    let renewing = lease.clone();
    tokio::spawn(async move {
        sleep(ms(3_900)).await;
        renewing.renewed(renewing.now());
    });
    lease.at_risk().await;
    assert_eq!(began.elapsed(), ms(7_900));
    lease.renewed(lease.now());
    lease.at_risk().await;
    assert_eq!(began.elapsed(), ms(11_900), "who is heard again is as safe as before");
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_deadline_is_at_risk_when_it_gets_one_or_ends() {
    let clock = Clock::tokio();
    let lease = Lease::new(clock, None, clock.now());
    let began = Instant::now();
    let granting = lease.clone();
    tokio::spawn(async move {
        sleep(ms(60_000)).await;
        granting.renewed(granting.now());
        granting.grant(Some(ms(10_000)));
    });
    lease.at_risk().await;
    assert_eq!(began.elapsed(), ms(64_000));
    let ended = Lease::new(clock, None, clock.now());
    ended.end(Loss::Expired);
    ended.at_risk().await;
    assert_eq!(began.elapsed(), ms(64_000));
}
