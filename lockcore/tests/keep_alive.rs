//! Keeping a session alive: from when a renewal counts, when the next is sent, what a failure means.

#[path = "fixture/log.rs"]
mod log;

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockcore::session::{Clock, KeepAlive, Lease, Loss, SessionState, keep_alive};
use lockcore::{Error, ErrorKind, Result};
use tokio::time::{Instant, advance, sleep};

use log::warnings;

const GRANTED: Duration = Duration::from_secs(12);
const INTERVAL: Duration = Duration::from_secs(2);
/// For how long a renewal keeps the lease.
const KEEPS: Duration = Duration::from_millis(9600);

/// How a renewal ends.
#[derive(Debug, Clone, Copy)]
enum Answer {
    After(Duration),
    Fails,
    Never,
    Expired,
}

use Answer::{After, Expired, Fails, Never};

const AT_ONCE: Answer = After(Duration::ZERO);

/// What a server was asked, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Connect(Duration),
    Renew(Duration),
}

use Asked::{Connect, Renew};

/// A server that answers renewals as it was told to, and hangs up after some of them.
#[derive(Debug)]
struct Server<const TOLD_LATER: bool, const FIRST_AT_ONCE: bool = true> {
    start: Instant,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: VecDeque<Answer>,
    /// How it answers when the others are used up.
    then: Answer,
    connecting: Duration,
    hangs_up: bool,
}

impl<const TOLD_LATER: bool, const FIRST_AT_ONCE: bool> Server<TOLD_LATER, FIRST_AT_ONCE> {
    fn new(answers: &[Answer], then: Answer) -> Self {
        let (start, asked, answers) = (Instant::now(), Arc::default(), answers.iter().copied().collect());
        Self { start, asked, answers, then, connecting: Duration::ZERO, hangs_up: false }
    }

    fn log(&self, asked: fn(Duration) -> Asked) {
        self.asked.lock().expect("nothing panics while it is held").push(asked(self.start.elapsed()));
    }
}

impl<const TOLD_LATER: bool, const FIRST_AT_ONCE: bool> KeepAlive for Server<TOLD_LATER, FIRST_AT_ONCE> {
    const TOLD_LATER: bool = TOLD_LATER;
    const FIRST_AT_ONCE: bool = FIRST_AT_ONCE;

    async fn connect(&mut self) -> Result<()> {
        self.log(Connect);
        sleep(self.connecting).await;
        Ok(())
    }

    async fn renew(&mut self) -> Result<()> {
        self.log(Renew);
        match self.answers.pop_front().unwrap_or(self.then) {
            After(delay) => {
                sleep(delay).await;
                Ok(())
            }
            Fails => Err(Error::new(ErrorKind::Unreachable, "no")),
            Never => pending().await,
            Expired => Err(Error::lost(Loss::Expired)),
        }
    }

    async fn disconnected(&mut self) {
        if !self.hangs_up {
            pending().await
        }
    }
}

type Plain = Server<false>;

/// A lease whose last renewal is a second old.
async fn lease() -> Lease {
    let clock = Clock::tokio();
    let lease = Lease::new(clock, Some(GRANTED), clock.now());
    sleep(Duration::from_secs(1)).await;
    lease
}

/// Keeps a lease alive with this server, and says what it was asked until the time is up.
async fn asked<const TOLD_LATER: bool, const FIRST_AT_ONCE: bool>(
    mut server: Server<TOLD_LATER, FIRST_AT_ONCE>,
    time: Duration,
) -> Vec<Asked> {
    let (lease, asked) = (lease().await, server.asked.clone());
    server.start = Instant::now();
    let _ = tokio::time::timeout(time, keep_alive(&lease, &mut server)).await;
    let asked = asked.lock().expect("nothing panics while it is held");
    asked.clone()
}

/// For how long the lease lasts from now on.
async fn lasts<const TOLD_LATER: bool>(mut server: Server<TOLD_LATER>) -> Duration {
    let lease = lease().await;
    let start = Instant::now();
    assert_eq!(keep_alive(&lease, &mut server).await, Loss::Deadline);
    start.elapsed()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_when_it_was_sent() {
    let lasts = lasts(Plain::new(&[After(seconds(1.5))], Never)).await;
    assert_eq!(lasts, KEEPS);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_when_it_is_acknowledged_and_not_before() {
    let lasts = lasts(Plain::new(&[], Never)).await;
    assert_eq!(lasts, KEEPS - seconds(1.0));
}

#[tokio::test(start_paused = true)]
async fn where_servers_tell_later_a_renewal_counts_for_one_interval_more_than_the_one_before() {
    let later = |connecting, answers: &[Answer]| Server::<true> {
        connecting: seconds(connecting),
        ..Server::new(answers, Never)
    };
    assert_eq!(lasts(later(0.0, &[AT_ONCE; 3])).await, 2 * INTERVAL + KEEPS);
    // The one before is that with which the session began, a second ago.
    assert_eq!(lasts(later(5.0, &[AT_ONCE])).await, INTERVAL - seconds(1.0) + KEEPS);
    // It is sent after three seconds, the next after five; that fails, and so it connects again.
    let reconnected = lasts(later(3.0, &[AT_ONCE, Fails, AT_ONCE])).await;
    assert_eq!(reconnected, seconds(5.0) + INTERVAL + KEEPS);
    let plain = Plain { connecting: seconds(5.0), ..Server::new(&[AT_ONCE], Never) };
    assert_eq!(lasts(plain).await, seconds(5.0) + KEEPS);
}

#[tokio::test(start_paused = true)]
async fn renewals_are_sent_at_the_interval_however_long_an_answer_takes() {
    let server = Plain::new(&[], After(seconds(0.5)));
    let expected = [Connect(seconds(0.0)), Renew(seconds(0.0)), Renew(INTERVAL), Renew(2 * INTERVAL)];
    assert_eq!(asked(server, seconds(5.0)).await, expected);
}

/// The session was begun a second ago, which is as good as a renewal.
#[tokio::test(start_paused = true)]
async fn the_first_renewal_is_sent_when_it_is_due_unless_it_has_to_come_before_all_else() {
    let due = INTERVAL - seconds(1.0);
    let expected = [Connect(due), Renew(due), Renew(due + INTERVAL)];
    assert_eq!(asked(Server::<false, false>::new(&[], AT_ONCE), seconds(4.0)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_it_connects_and_renews_at_once() {
    let server = Plain::new(&[AT_ONCE, Fails], AT_ONCE);
    let (zero, failed) = (Duration::ZERO, INTERVAL);
    let expected =
        [Connect(zero), Renew(zero), Renew(failed), Connect(failed), Renew(failed), Renew(2 * INTERVAL)];
    assert_eq!(asked(server, seconds(5.0)).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lasted_is_replaced_at_once_whatever_was_before() {
    let before = [Fails; 6].into_iter().chain([AT_ONCE; 2]).chain([Fails]).collect::<Vec<_>>();
    let attempts = renewals(&asked(Plain::new(&before, AT_ONCE), seconds(9.0)).await);
    assert_eq!(attempts[8], attempts[9]);
    assert_ne!(attempts[4], attempts[5]);
}

/// So that a server that is down is not kept down by those who try.
#[tokio::test(start_paused = true)]
async fn after_more_failures_it_pauses_for_longer_and_longer_but_no_longer_than_half_an_interval() {
    let attempts = renewals(&asked(Plain::new(&[], Fails), seconds(8.0)).await);
    let pauses: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let longest = pauses.iter().max().unwrap();
    assert_eq!(pauses[0], Duration::ZERO);
    assert!(pauses[1] < INTERVAL / 64 + Duration::from_millis(2), "{pauses:?}");
    assert!((INTERVAL / 4..=INTERVAL / 2 + Duration::from_millis(2)).contains(longest), "{pauses:?}");
    assert!((12..30).contains(&attempts.len()), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_after_each_renewal_is_not_asked_without_a_pause() {
    let server = Plain { hangs_up: true, ..Server::new(&[], AT_ONCE) };
    let attempts = renewals(&asked(server, seconds(8.0)).await);
    assert!((8..30).contains(&attempts.len()), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced_before_the_next_renewal_is_due() {
    let server = Plain { hangs_up: true, ..Server::new(&[], AT_ONCE) };
    let asked = asked(server, seconds(1.0)).await;
    let zero = Duration::ZERO;
    assert_eq!(asked[..4], [Connect(zero), Renew(zero), Connect(zero), Renew(zero)]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_without_an_answer_is_given_up_in_time_to_ask_somebody_else() {
    let server = Plain::new(&[AT_ONCE, Never], AT_ONCE);
    let (asked, given_up) = (asked(server, seconds(9.0)).await, INTERVAL + GRANTED / 2);
    assert_eq!(asked[3..], [Connect(given_up), Renew(given_up)]);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_in_doubt_from_a_failure_until_a_renewal_is_acknowledged() {
    let (lease, mut server) = (lease().await, Plain::new(&[AT_ONCE, Fails, After(seconds(1.0))], AT_ONCE));
    let (observed, start) = (lease.clone(), Instant::now());
    let kept = tokio::spawn(async move { keep_alive(&lease, &mut server).await });
    let state = async |after: f64| {
        tokio::time::sleep_until(start + seconds(after)).await;
        observed.state()
    };
    assert_eq!(state(1.9).await, SessionState::Live);
    assert!(matches!(state(2.5).await, SessionState::Doubtful { until: Some(_) }));
    assert_eq!(state(3.1).await, SessionState::Live);
    kept.abort();
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_of_the_end_ends_the_lease_at_once() {
    let (lease, mut server) = (lease().await, Plain::new(&[AT_ONCE, Fails, Expired], AT_ONCE));
    let asked = server.asked.clone();
    assert_eq!(keep_alive(&lease, &mut server).await, Loss::Expired);
    assert_eq!(lease.loss(), Some(Loss::Expired));
    assert_eq!(renewals(&asked.lock().expect("nothing panics while it is held")).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_closed_is_not_renewed() {
    let (lease, mut server) = (lease().await, Plain::new(&[], AT_ONCE));
    lease.end(Loss::Closed);
    assert_eq!(keep_alive(&lease, &mut server).await, Loss::Closed);
    assert_eq!(*server.asked.lock().expect("nothing panics while it is held"), []);
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_a_limit_needs_no_renewal() {
    let clock = Clock::tokio();
    let (lease, mut server) = (Lease::new(clock, None, clock.now()), Plain::new(&[], AT_ONCE));
    let asked = server.asked.clone();
    let _ = tokio::time::timeout(seconds(100.0), keep_alive(&lease, &mut server)).await;
    assert_eq!(
        (renewals(&asked.lock().expect("nothing panics while it is held")).len(), lease.state()),
        (0, SessionState::Live)
    );
}

/// Whoever blocks the threads of a runtime learns it before a session is lost by that.
#[tokio::test(start_paused = true)]
async fn a_late_renewal_is_told() {
    let late = async |delay: f64| {
        let (lease, mut server) = (lease().await, Plain::new(&[], AT_ONCE));
        let kept = async {
            tokio::select! {
                _ = keep_alive(&lease, &mut server) => {}
                () = async {
                    sleep(seconds(1.0)).await;
                    advance(seconds(1.0 + delay)).await;
                    sleep(seconds(0.5)).await;
                } => {}
            }
        };
        warnings(kept).await.1
    };
    let said = late(1.0).await;
    assert_eq!(said.matches("the renewal of a session was late").count(), 1, "{said}");
    assert_eq!(late(0.5).await, "");
}

fn renewals(asked: &[Asked]) -> Vec<Duration> {
    asked.iter().filter_map(|asked| if let Renew(at) = asked { Some(*at) } else { None }).collect()
}
