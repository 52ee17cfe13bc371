//! Elections: the candidates are the queue, terms rise, and nobody resigns before his work has ended.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use lockcore::{Election, FencingToken, Leader, Leadership, LockServiceExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::prelude::*;
use crate::context::Party;

trials!("election", Clients: [
    candidates_lead_in_order,
    values_are_data,
    who_holds_without_a_campaign_is_no_leader,
    an_observer_sees_every_change_in_rising_terms,
    a_leader_resigns_only_after_its_work_has_ended,
    whoever_is_told_to_stop_resigns_after_the_work,
], Network: [
    a_lost_leadership_stops_the_work_and_is_campaigned_for_again,
    an_observer_sees_the_next_leader_after_a_loss,
]);

fn election(context: &Context, party: &Party) -> Result<Election, Failure> {
    Ok(party.locks.election(context.name())?)
}

/// Campaigns, and returns when the candidate stands behind `ahead` others.
async fn candidate(
    context: &Context,
    party: &Party,
    value: &'static str,
    ahead: usize,
) -> Result<JoinHandle<lockcore::Result<Option<Leadership>>>, Failure> {
    let (election, options) = (election(context, party)?, party.options());
    let lock = election.lock().clone();
    let campaign = tokio::spawn(async move { election.campaign_with(value, &options).await });
    context.until_queue(&*lock, "the candidate is in the queue", |queue| queue.len() > ahead).await?;
    Ok(campaign)
}

/// The next who leads, in reasonable time.
async fn elected(
    context: &Context,
    campaign: JoinHandle<lockcore::Result<Option<Leadership>>>,
) -> Result<Leadership, Failure> {
    let elected = tokio::time::timeout(context.patience(), campaign).await???;
    elected.ok_or_else(|| Failure::new("the campaign ended without a result"))
}

/// What an observer is told next.
async fn seen(
    leaders: &mut BoxStream<'static, lockcore::Result<Option<Leader>>>,
) -> Result<Option<Leader>, Failure> {
    let next = tokio::time::timeout(Context::PROMPT, leaders.next()).await;
    let next = next.map_err(|_| Failure::new("the observer is told nothing"))?;
    Ok(next.ok_or_else(|| Failure::new("there is nothing more to observe"))??)
}

async fn candidates_lead_in_order(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let observed = election(&context, &bob)?;
    check!(observed.leader().await?.is_none(), "somebody leads who did not campaign");
    let mut campaigns = vec![candidate(&context, &alice, "one", 0).await?];
    campaigns.push(candidate(&context, &bob, "two", 1).await?);
    campaigns.push(candidate(&context, &alice, "three", 2).await?);
    let mut last = FencingToken::new(0);
    for (campaign, value) in campaigns.into_iter().zip(["one", "two", "three"]) {
        let leadership = elected(&context, campaign).await?;
        let leader = observed.leader().await?.ok_or_else(|| Failure::new("nobody leads"))?;
        check!(leader.value == value, "{:?} leads instead of {value:?}", leader.value);
        check!(leader.term == leadership.term(), "term {} of {leadership:?}", leader.term);
        check!(leader.term > last, "term {} after {last}", leader.term);
        let label = if value == "two" { &bob.label } else { &alice.label };
        check!(leader.label == *label, "the label became {:?}", leader.label);
        check!(leadership.is_valid(), "the leadership is lost");
        last = leader.term;
        let resigned = leadership.resign().await?;
        check!(resigned == Released::Held, "resigned: {resigned:?}");
    }
    context.until("nobody leads", async || Ok(observed.leader().await?.is_none())).await
}

async fn values_are_data(context: Context) -> Verdict {
    let alice = context.client().await?;
    let election = election(&context, &alice)?;
    let long = "v".repeat(512);
    for value in ["", " ", "a/b", "\0", "\u{1f}3:abc", "http://[::1]:8080/?a=b", "🔒", "$(id)", &long] {
        for label in ["", "\u{1f}:x", "plain", &"l".repeat(512)] {
            let options = AcquireOptions::new().with_label(label);
            let leadership = election.campaign_with(value, &options).await?;
            check!(leadership.is_some(), "not elected");
            let leader = election.leader().await?;
            let told = leader.as_ref().map(|leader| (&*leader.value, &*leader.label));
            check!(told == Some((value, label)), "{value:?} of {label:?} became {told:?}");
            drop(leadership);
            context.until_empty(&**election.lock()).await?;
        }
    }
    let refused = election.campaign("v".repeat(513)).await;
    check!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "a long value is accepted");
    Ok(())
}

async fn who_holds_without_a_campaign_is_no_leader(context: Context) -> Verdict {
    let alice = context.client().await?;
    let election = election(&context, &alice)?;
    for label in ["plain", "\u{1f}5:value"] {
        let options = AcquireOptions::new().with_label(label);
        let guard = election.lock().acquire_with(&options).await?;
        let leader = election.leader().await?;
        check!(leader.is_none(), "{leader:?} leads");
        let queue = election.lock().queue().await?;
        check!(queue[0].label == label && queue[0].value.is_none(), "{label:?} became {queue:?}");
        drop(guard);
        context.until_empty(&**election.lock()).await?;
    }
    Ok(())
}

async fn an_observer_sees_every_change_in_rising_terms(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let mut leaders = election(&context, &bob)?.observe();
    check!(seen(&mut leaders).await?.is_none(), "somebody leads who did not campaign");
    let candidates = election(&context, &alice)?;
    let mut last = FencingToken::new(0);
    for round in 0..5 {
        let leadership = candidates.campaign(round.to_string()).await?;
        let leader = seen(&mut leaders).await?.ok_or_else(|| Failure::new("nobody leads"))?;
        check!(leader.value == round.to_string(), "{leader:?} leads in round {round}");
        check!(leader.term == leadership.term() && leader.term > last, "term {} after {last}", leader.term);
        last = leader.term;
        let _ = leadership.resign().await?;
        let nobody = seen(&mut leaders).await?;
        check!(nobody.is_none(), "{nobody:?} leads after everybody resigned");
    }
    Ok(())
}

/// Work that takes a moment to end, and says whether it has.
struct Work {
    ended: Arc<AtomicBool>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

async fn a_leader_resigns_only_after_its_work_has_ended(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, ended, finish) = (election(&context, &alice)?, Arc::default(), Arc::<Notify>::default());
    let (working, terms) = mpsc::unbounded_channel();
    let leads = tokio::spawn({
        let (ended, finish) = (Arc::<AtomicBool>::clone(&ended), finish.clone());
        async move {
            hers.lead("hers", move |leadership| {
                let work = Work { ended: ended.clone() };
                let (finish, working) = (finish.clone(), working.clone());
                async move {
                    let _ = working.send(leadership.fencing_token());
                    finish.notified().await;
                    // Others must not lead before it is dropped, here.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    drop(work);
                    ControlFlow::Break(leadership.fencing_token())
                }
            })
            .await
        }
    });
    let mut terms = terms;
    let term = tokio::time::timeout(context.patience(), terms.recv()).await?;
    let next = candidate(&context, &bob, "his", 1).await?;
    check!(!next.is_finished(), "two leaders");
    finish.notify_one();
    let next = elected(&context, next).await?;
    check!(ended.load(Ordering::SeqCst), "resigned before the work had ended");
    let led = tokio::time::timeout(context.patience(), leads).await???;
    check!(Some(led) == term, "led in term {led} instead of {term:?}");
    check!(next.term() > led, "term {} after {led}", next.term());
    Ok(())
}

async fn whoever_is_told_to_stop_resigns_after_the_work(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, ended, stop) = (election(&context, &alice)?, Arc::default(), Arc::<Notify>::default());
    let (stopped, flag) = (stop.clone(), Arc::<AtomicBool>::clone(&ended));
    let leads = tokio::spawn(async move {
        let work = |_| {
            let work = Work { ended: flag.clone() };
            async move {
                let _work = work;
                std::future::pending::<ControlFlow<()>>().await
            }
        };
        hers.lead_until("hers", async move { stopped.notified().await }, work).await
    });
    let his = election(&context, &bob)?;
    context.until("she leads", async || Ok(his.leader().await?.is_some())).await?;
    let next = candidate(&context, &bob, "his", 1).await?;
    stop.notify_one();
    let led = tokio::time::timeout(context.patience(), leads).await???;
    check!(led.is_none(), "the work ended with {led:?}");
    check!(ended.load(Ordering::SeqCst), "the work goes on");
    drop(elected(&context, next).await?);
    Ok(())
}

async fn a_lost_leadership_stops_the_work_and_is_campaigned_for_again(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, ended, rounds) = (election(&context, &alice)?, Arc::default(), Arc::<AtomicU32>::default());
    let (flag, counted) = (Arc::<AtomicBool>::clone(&ended), rounds.clone());
    let (working, mut terms) = mpsc::unbounded_channel();
    let leads = tokio::spawn(async move {
        let work = |leadership: lockcore::HeldLock| {
            let work = Work { ended: flag.clone() };
            let (working, round) = (working.clone(), counted.fetch_add(1, Ordering::SeqCst));
            async move {
                let _work = work;
                let _ = working.send(leadership.fencing_token());
                if round > 0 {
                    return ControlFlow::Break(());
                }
                std::future::pending().await
            }
        };
        hers.lead("hers", work).await
    });
    let first = tokio::time::timeout(context.patience(), terms.recv()).await?;
    let next = candidate(&context, &bob, "his", 1).await?;
    alice.network()?.cut();
    let next = elected(&context, next).await?;
    check!(ended.load(Ordering::SeqCst), "the work of a former leader goes on beside that of the next");
    check!(Some(next.term()) > first, "term {} after {first:?}", next.term());
    alice.network()?.heal();
    context
        .until_queue(&*bob.locks.exclusive(context.name())?, "she campaigns again", |queue| queue.len() > 1)
        .await?;
    let _ = next.resign().await?;
    tokio::time::timeout(context.patience(), leads).await???;
    check!(rounds.load(Ordering::SeqCst) == 2, "she led {rounds:?} times");
    Ok(())
}

async fn an_observer_sees_the_next_leader_after_a_loss(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let hers = election(&context, &alice)?.campaign("hers").await?;
    let next = candidate(&context, &bob, "his", 1).await?;
    let mut leaders = election(&context, &carol)?.observe();
    let first = seen(&mut leaders).await?.map(|leader| leader.term);
    check!(first == Some(hers.term()), "the term is {first:?}");
    alice.network()?.cut();
    let next = elected(&context, next).await?;
    // Nobody else can have led in between.
    loop {
        let Some(leader) = seen(&mut leaders).await? else { continue };
        check!(leader.value == "his" && leader.term == next.term(), "{leader:?} leads");
        break;
    }
    check!(!hers.is_valid(), "two leaders");
    Ok(())
}
