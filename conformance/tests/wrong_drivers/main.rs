//! The suite is worth something only if wrong drivers fail it: each of these makes one mistake, and must fail the
//! trial that is meant for it, for the reason that is meant. The honest driver passes that trial.
//!
//! That a lost session comes back to life needs no driver of its own: a lease that is lost stays lost, whoever writes
//! the driver (`lockcore/tests/lease.rs`).

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod driver;
mod mistake;
mod place;

use std::sync::Arc;

use conformance::{Fixture, Outcome, trials};

use mistake::Mistake;
use place::Place;

fn run(trial: &str, mistake: Mistake) -> Outcome {
    let fixture: Arc<dyn Fixture> = Arc::new(Place::new(mistake));
    let trial = trials().into_iter().find(|known| known.name() == trial);
    trial.expect("the suite has this trial").run(&fixture)
}

#[track_caller]
fn fails(mistake: Mistake, trial: &str, reason: &str) {
    let honest = run(trial, Mistake::None);
    assert!(matches!(honest, Outcome::Passed), "the honest driver: {honest:?}");
    match run(trial, mistake) {
        Outcome::Failed(failure) => {
            let told = failure.to_string();
            assert!(told.contains(reason), "{mistake:?} fails {trial}, but for another reason: {told}");
        }
        passed => panic!("{mistake:?} passes {trial}: {passed:?}"),
    }
}

macro_rules! wrong_drivers {
    ($($test:ident: $mistake:ident, $trial:literal, $reason:literal;)+) => {
        $(
            #[test]
            fn $test() {
                fails(Mistake::$mistake, $trial, $reason);
            }
        )+
    };
}

wrong_drivers! {
    adopting_another_sessions_entry:
        AdoptsAnotherSessionsEntry, "exclusion/one_label_is_not_one_owner",
        "an entry with the same label was taken for our own";
    asking_for_one_permit_whatever_is_wanted:
        AsksForOnePermit, "semaphore/a_large_request_is_not_starved",
        "a small request overtook a large one";
    cleaning_up_live_locks:
        CleansUpLiveLocks, "cleanup/used_locks_are_left_alone",
        "the entry was removed from the queue";
    confusing_names:
        ConfusesNames, "names/every_name_is_a_lock_of_its_own",
        "is the same as another name";
    counting_the_session_from_the_answer:
        CountsTheSessionFromTheAnswer, "loss/an_answer_that_comes_late_prolongs_nothing",
        "two valid guards";
    ending_no_entries_with_the_session:
        EndsNoEntriesWithItsSession, "close/closing_gives_everything_back",
        "it is its turn, but nobody wakes the waiter";
    enqueueing_again_after_a_lost_reply:
        EnqueuesAgainAfterALostReply, "disconnect/a_lost_reply_to_the_enqueue_leaves_one_entry",
        "3 entries for two acquisitions";
    enqueueing_for_a_session_that_has_ended:
        EnqueuesForAnEndedSession, "loss/a_request_that_comes_after_the_end_of_its_session_leaves_nothing",
        "an entry of a session that has ended is in the way";
    evicting_nobody:
        EvictsNobody, "operator/any_client_can_remove_a_holder",
        "it is its turn, but nobody wakes the waiter";
    executing_late_requests:
        ExecutesLateRequests, "disconnect/a_request_that_comes_after_its_removal_brings_nothing_back",
        "an entry came back";
    forgetting_cancelled_entries:
        ForgetsCancelledEntries, "timeout/timeout_leaves_nothing",
        "never happened: only the holder is there";
    forgetting_labels:
        ForgetsLabels, "view/labels_are_data",
        "became";
    forgetting_records_with_the_session:
        ForgetsRecordsWithTheSession, "record/a_record_outlives_its_writer",
        "became None";
    granting_on_any_wake_up:
        GrantsOnAnyWakeUp, "fairness/departure_of_a_waiter_lets_nobody_in",
        "a wake-up was taken for a grant";
    hiding_names:
        HidesNames, "names/names_come_back_as_they_were",
        "is held but not listed";
    ignoring_the_case_of_names:
        IgnoresCase, "names/every_name_is_a_lock_of_its_own",
        "is the same as another name";
    ignoring_limits:
        IgnoresLimits, "semaphore/disagreement_about_the_limit_is_an_error",
        "two limits for one semaphore";
    keeping_names_of_unused_locks:
        KeepsNamesOfUnusedLocks, "cleanup/unused_locks_leave_no_name",
        "an unused lock is still listed";
    listing_nobody:
        ListsNobody, "shared/reader_behind_a_waiting_writer_waits",
        "acquirable, although a writer waits";
    losing_the_session_with_a_reply:
        LosesItsSessionWithAReply, "disconnect/a_lost_reply_to_the_release_is_no_error",
        "released: Lost(Expired)";
    never_seeing_that_an_entry_is_gone:
        NeverSeesThatItsEntryIsGone, "operator/a_removed_holder_is_told",
        "the holder is never told";
    never_telling_of_loss:
        NeverTellsOfLoss, "loss/a_holder_that_is_cut_off_is_told_before_the_next_is_let_in",
        "two valid guards";
    recording_whatever_comes_last:
        RecordsWhateverComesLast, "record/a_former_holder_does_not_overwrite_a_later_one",
        "9 recorded after 10";
    removing_by_position:
        RemovesByPosition, "release/a_late_release_of_one_hold_leaves_the_next_alone",
        "the entry was removed from the queue";
    removing_nothing:
        RemovesNothing, "release/release_is_confirmed",
        "released, but still in the queue";
    resetting_tokens:
        ResetsTokens, "fencing/tokens_rise_from_guard_to_guard",
        "token 1 after";
    saying_of_every_entry_that_it_was_there:
        SaysOfEveryEntryThatItWasThere, "operator/a_release_says_that_the_entry_had_been_removed",
        "released: Held";
    saying_of_no_entry_that_it_was_there:
        SaysOfNoEntryThatItWasThere, "release/release_is_confirmed",
        "released: Lost(Removed)";
    letting_readers_pass_a_waiting_writer:
        SharedPassesAWaitingWriter, "shared/reader_behind_a_waiting_writer_waits",
        "entry 2 was granted before its turn";
    showing_one_permit:
        ShowsOnePermit, "view/permits_are_shown",
        "permits: 1, limit: 5";
    showing_other_tokens:
        ShowsOtherTokens, "fencing/the_queue_shows_the_token_of_the_guard",
        "shows another token than";
    showing_the_queue_backwards:
        ShowsTheQueueBackwards, "view/holders_and_waiters_are_shown_in_order",
        "is not [(0, true, Exclusive";
    sleeping_through_changes_of_the_head:
        SleepsThroughChangesOfTheHead, "election/an_observer_sees_every_change_in_rising_terms",
        "the observer is told nothing";
    sleeping_through_departures:
        SleepsThroughDepartures, "fairness/grants_follow_the_queue",
        "it is its turn, but nobody wakes the waiter";
    letting_a_small_request_pass_a_large_one:
        SmallRequestPassesALargeOne, "semaphore/a_large_request_is_not_starved",
        "a small request overtook a large one";
    starting_tokens_anew_with_each_session:
        StartsTokensAnewWithEachSession, "fencing/tokens_rise_after_the_lock_was_unused",
        "token 0 after Some(FencingToken(0))";
    taking_an_outage_for_the_end:
        TakesAnOutageForTheEnd, "outage/a_wait_that_begins_while_cut_off_goes_on",
        "the wait ended for want of a server";
    taking_the_token_before_the_place:
        TakesItsTokenBeforeItsPlace, "fencing/tokens_rise_along_a_crowd",
        "granted in the order";
    watching_one_semaphore_holder:
        WatchesOneHolderOnly, "semaphore/departure_of_any_holder_lets_the_next_in",
        "it is its turn, but nobody wakes the waiter";
}
