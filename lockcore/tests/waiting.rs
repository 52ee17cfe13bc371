//! Waits that keep their word, whatever happens to servers and sessions.

mod fixture;

use std::time::Duration;

use fixture::{GRANTED, LONG, Mood, PLACE, Server, exclusive, service, soon, warnings};
use lockcore::queue::Standing;
use lockcore::queue::attempt::{Attempt, End, Event, Failure, Next, Step};
use lockcore::{
    AcquireOptions, DistributedLock, DistributedLockExt, Enqueued, ErrorKind, FencingToken, LockService,
    Loss, Revision, Wait,
};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(30);
/// What the end of a wait may take.
const SETTLED: Duration = Duration::from_millis(500);
/// The server has none of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_wait_outlasts_an_outage() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().fails = Some(ErrorKind::Unreachable);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(LONG).await;
    assert!(!waiting.is_finished());
    server.mood().fails = None;
    drop(soon("it is granted", waiting).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_wait_outlasts_servers_that_open_no_session() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    sleep(GRANTED).await;
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(LONG).await;
    assert!(!waiting.is_finished());
    server.mood().refuses_sessions = None;
    assert!(soon("it is granted", waiting).await.unwrap().unwrap().is_valid());
}

/// Whoever waits for its answer, or for others, is told when the lease ends, not when something else wakes it.
#[tokio::test(start_paused = true)]
async fn a_loss_ends_what_is_being_waited_for_at_once() {
    const LOSS: Duration = Duration::from_secs(8);
    for silent in [true, false] {
        let server = Server::new(None);
        let (_first, holder) = exclusive(&server).await;
        let _guard = holder.acquire().await.unwrap();
        server.mood().silent = silent;
        let (_second, waiter) = exclusive(&server.granting(Some(GRANTED))).await;
        let start = Instant::now();
        let options = AcquireOptions::new().with_requeue(false);
        let error = soon("the wait ends", waiter.acquire_with(&options)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SessionLost, "{silent}");
        assert!(start.elapsed() <= LOSS, "{silent}: {:?}", start.elapsed());
    }
}

/// As after the machine slept: what is due has become due together.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_with_a_session_that_was_lost_meanwhile() {
    let server = Server::new(None);
    let (_first, holder) = exclusive(&server).await;
    let _guard = holder.acquire().await.unwrap();
    let (_second, waiter) = exclusive(&server.granting(Some(GRANTED))).await;
    let waiting =
        tokio::spawn(async move { waiter.acquire_with(&AcquireOptions::new().with_requeue(false)).await });
    server.until_entries(2).await;
    sleep(SETTLED).await;
    tokio::time::advance(LONG).await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(server.late(), 0, "the watch was set again");
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_session_is_lost_goes_on_behind_all_others() {
    let server = Server::new(None);
    let (_first, holder) = exclusive(&server).await;
    let guard = holder.acquire().await.unwrap();
    // Its session is not renewed.
    let brief = server.granting(Some(GRANTED));
    let (_second, unlucky) = exclusive(&brief).await;
    let (_third, lucky) = exclusive(&server).await;
    let (queued_again, said) = warnings(async {
        let unlucky = tokio::spawn(async move { unlucky.acquire().await });
        server.until_entries(2).await;
        let before = server.entries();
        let lucky = tokio::spawn(async move { lucky.acquire().await });
        server.until_entries(3).await;
        // The lost entry goes, a new one comes.
        let come = async {
            while server.entries().len() != 3 || server.entries()[1] == before[1] {
                sleep(SETTLED).await
            }
        };
        soon("it is queued again", come).await;
        (unlucky, lucky)
    })
    .await;
    assert_eq!(said.matches("session lost").count(), 1, "{said}");
    drop(guard);
    let (unlucky, lucky) = queued_again;
    let first = soon("whoever kept the place is first", lucky).await.unwrap().unwrap();
    assert!(!unlucky.is_finished());
    let token = first.fencing_token();
    drop(first);
    assert!(soon("then the other", unlucky).await.unwrap().unwrap().fencing_token() > token);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_session_for_those_to_whom_their_place_matters() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let (_others, other) = exclusive(&server.granting(None)).await;
    let _guard = other.acquire().await.unwrap();
    let options = AcquireOptions::new().with_requeue(false);
    let error = soon("it ends", lock.acquire_with(&options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost);
    soon("only the holder is left", server.until_entries(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_cure_ends_a_wait() {
    for refuses in [ErrorKind::PermissionDenied, ErrorKind::InvalidConfig] {
        let server = Server::new(Some(GRANTED));
        let (_locks, lock) = exclusive(&server).await;
        server.mood().fails = Some(refuses);
        assert_eq!(soon("it ends", lock.acquire()).await.unwrap_err().kind(), refuses);
        server.mood().fails = None;
        server.mood().refuses_sessions = Some(refuses);
        sleep(GRANTED).await;
        assert_eq!(soon("it ends", lock.acquire()).await.unwrap_err().kind(), refuses);
    }
}

/// Runs an acquisition, and says how long it took.
async fn timed(lock: &dyn DistributedLock, wait: Wait) -> (Option<ErrorKind>, Duration) {
    let start = Instant::now();
    let result = soon("it ends", lock.acquire_with(&AcquireOptions::new().with_wait(wait))).await;
    match &result {
        Ok(got) => assert!(got.is_none(), "{got:?}"),
        Err(error) => assert!(error.to_string().contains(PLACE), "{error}"),
    }
    (result.err().map(|error| error.kind()), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept_to_the_end_and_the_server_is_named() {
    for (requests, sessions) in [(true, false), (false, true), (true, true), (false, false)] {
        let server = Server::new(Some(GRANTED));
        let (_locks, lock) = exclusive(&server).await;
        if sessions {
            server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
            sleep(GRANTED).await;
        }
        server.mood().fails = Some(ErrorKind::Unreachable).filter(|_| requests);
        // Nor does an answer come to the removal at the end.
        server.mood().silent = !requests && !sessions;
        let (kind, elapsed) = timed(&*lock, Wait::For(LIMIT)).await;
        assert_eq!(kind, Some(ErrorKind::Unreachable), "{requests} {sessions}");
        assert!((LIMIT..=LIMIT + SETTLED).contains(&elapsed), "{requests} {sessions}: {elapsed:?}");
    }
}

/// It was in the queue when it was last heard of: others are first, as far as is known.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_was_heard_of_is_not_in_time_although_the_server_is_gone() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    let gone = async {
        server.until_entries(2).await;
        sleep(SETTLED).await;
        server.mood().fails = Some(ErrorKind::Unreachable);
    };
    let ((kind, elapsed), ()) = tokio::join!(timed(&*lock, Wait::For(LIMIT)), gone);
    assert_eq!(kind, None);
    assert!((LIMIT..=LIMIT + SETTLED).contains(&elapsed), "{elapsed:?}");
}

/// The answer to the removal tells that the server is there, as it does after an outage that ended too late.
#[tokio::test(start_paused = true)]
async fn an_outage_that_is_over_in_the_end_is_no_error() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    server.mood().fails = Some(ErrorKind::Unreachable);
    let healed = async {
        sleep(LIMIT - Duration::from_millis(1)).await;
        server.mood().fails = None;
    };
    let ((kind, _), ()) = tokio::join!(timed(&*lock, Wait::For(LIMIT)), healed);
    assert_eq!(kind, None);
}

/// The answer to the removal tells that the server is there.
#[tokio::test(start_paused = true)]
async fn a_limit_shorter_than_an_answer_takes_is_no_outage() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    server.mood().delay = Duration::from_millis(20);
    assert_eq!(timed(&*lock, Wait::For(Duration::from_millis(5))).await.0, None);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_not_answered_ends_with_the_connect_timeout() {
    for (fails, sessions) in [(true, false), (false, true), (false, false)] {
        let server = Server::new(Some(GRANTED));
        let (_locks, lock) = exclusive(&server).await;
        if sessions {
            server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
            sleep(GRANTED).await;
        }
        server.mood().silent = !fails && !sessions;
        server.mood().fails = Some(ErrorKind::Unreachable).filter(|_| fails);
        let (kind, elapsed) = timed(&*lock, Wait::Never).await;
        assert_eq!((kind, elapsed), (Some(ErrorKind::Unreachable), CONNECT_TIMEOUT), "{fails} {sessions}");
        *server.mood() = Mood::default();
        soon("the entry goes", server.until_entries(0)).await;
    }
}

/// Its entry on the lost session may still be there.
#[test]
fn a_try_behind_nobody_but_itself_does_not_say_that_others_were_first() {
    let standing = Standing::Waits { wake: vec!["other".into()], seen: Revision::default() };
    let waits = Event::Enqueued(Enqueued { token: FencingToken::new(2), standing });
    let failed = || Event::Failed(Failure { retryable: true });
    let mut attempt = Attempt::new(false, true);
    attempt.begin();
    assert_eq!(attempt.on(Event::Opened, None).next, Next::Do(Step::Enqueue));
    assert_eq!(attempt.on(failed(), Some(Loss::Deadline)).next, Next::Do(Step::Pause));
    assert_eq!(attempt.on(Event::Woken, None).next, Next::Do(Step::Open));
    assert_eq!(attempt.on(Event::Opened, None).next, Next::Do(Step::Enqueue));
    assert_eq!(attempt.on(waits, None).next, Next::End(End::SessionLost(Loss::Deadline)));
}

/// The server is not asked ever more often, whatever it says.
#[tokio::test(start_paused = true)]
async fn trouble_that_goes_on_is_met_with_longer_pauses() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    server.mood().breaks_watches = true;
    assert!(lock.acquire_timeout(LONG).await.unwrap().is_none());
    let seconds = LONG.as_secs();
    assert!((seconds / 2..3 * seconds).contains(&server.lists()), "{} looks in an hour", server.lists());
}

/// What went wrong long ago does not make anybody wait.
#[tokio::test(start_paused = true)]
async fn a_watch_that_worked_makes_pauses_short_again() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let _guard = lock.acquire().await.unwrap();
    let acquire = || {
        let lock = lock.clone();
        tokio::spawn(async move { lock.acquire().await })
    };
    let ahead = acquire();
    server.until_entries(2).await;
    sleep(SETTLED).await;
    server.mood().breaks_watches = true;
    let waiting = acquire();
    sleep(Duration::from_secs(5)).await;
    server.mood().breaks_watches = false;
    sleep(Duration::from_secs(10)).await;
    server.mood().breaks_watches = true;
    let before = server.lists();
    ahead.abort();
    sleep(Duration::from_millis(200)).await;
    let looks = server.lists() - before;
    assert!(looks > 3, "{looks} looks in 200 ms");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_crowd_opens_sessions_no_more_often_than_one() {
    const WAIT: Duration = Duration::from_secs(300);
    let server = Server::new(Some(GRANTED));
    let locks = service(&server).await;
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    sleep(GRANTED).await;
    let crowd = (0..200).map(|number| {
        let lock = locks.exclusive(&number.to_string()).unwrap();
        async move { lock.acquire_timeout(WAIT).await.unwrap_err() }
    });
    futures::future::join_all(crowd).await;
    let seconds = WAIT.as_secs();
    assert!((seconds / 3..3 * seconds).contains(&server.openings()), "{} in five minutes", server.openings());
}

/// Whoever lost a session after that waits as short as the first.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_opened_makes_pauses_short_again() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    sleep(GRANTED).await;
    assert!(lock.acquire_timeout(LIMIT).await.is_err());
    server.mood().refuses_sessions = None;
    soon("it is granted", lock.acquire()).await.unwrap().lost().await;
    server.mood().refuses_sessions = Some(ErrorKind::Unreachable);
    let before = server.openings();
    assert!(lock.acquire_timeout(Duration::from_millis(200)).await.is_err());
    let openings = server.openings() - before;
    assert!(openings > 2, "{openings} in 200 ms");
}

/// Neither that others were first, nor that nobody could be reached.
#[tokio::test(start_paused = true)]
async fn a_limit_ends_with_what_went_wrong_all_the_time() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    server.mood().breaks_enqueues = true;
    for wait in [Wait::Never, Wait::For(LIMIT)] {
        let error = lock.acquire_with(&AcquireOptions::new().with_wait(wait)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_all_the_time_is_told_every_ten_seconds_by_all_waiters_together() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let other = locks.exclusive("b").unwrap();
    let tells = async |limit| {
        let waiting = async { tokio::join!(lock.acquire_timeout(limit), other.acquire_timeout(limit)) };
        warnings(waiting).await.1
    };
    server.mood().breaks_enqueues = true;
    let told = tells(LIMIT).await;
    assert!(told.lines().count() == 3 && told.contains("no room") && told.contains(PLACE), "{told}");
    sleep(LONG).await;
    assert_eq!(tells(SETTLED).await, "", "it may pass as quickly as it came");
    server.mood().breaks_enqueues = false;
    server.mood().fails = Some(ErrorKind::Unreachable);
    assert_eq!(tells(LIMIT).await, "", "an outage is told with the session");
}

/// One that holds the door of new sessions back does not answer at all.
#[tokio::test(start_paused = true)]
async fn a_try_ends_although_nothing_fails() {
    let server = Server::new(Some(GRANTED));
    let (_locks, lock) = exclusive(&server).await;
    let _door = server.doors().acquire().await.unwrap();
    sleep(GRANTED).await;
    assert_eq!(timed(&*lock, Wait::Never).await, (Some(ErrorKind::Unreachable), CONNECT_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_try_outlasts_a_short_disconnect() {
    let server = Server::new(None);
    let locks = service(&server).await;
    let lock = locks.exclusive("a").unwrap();
    server.mood().fails = Some(ErrorKind::Unreachable);
    let healed = async {
        sleep(CONNECT_TIMEOUT / 2).await;
        server.mood().fails = None;
    };
    let (tried, ()) = tokio::join!(lock.try_acquire(), healed);
    assert!(tried.unwrap().is_some());
}
