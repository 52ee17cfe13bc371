//! Scheduled work: at most once in a period, whoever comes, also if he dies in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lockcore::{LastRun, LockServiceExt, Once, RunEnd, Turn};
use tokio::sync::Notify;

use super::prelude::*;
use crate::context::Party;

trials!("once", Clients: [
    many_come_and_one_runs,
    the_end_is_recorded,
    the_lock_is_kept_for_a_while,
    who_comes_while_it_runs_is_told_so,
    a_run_that_breaks_off_counts_for_its_period,
    the_next_period_has_a_run_of_its_own,
], Network: [
    a_run_that_loses_its_lock_stops_and_counts,
]);

/// Longer than any trial.
const PERIOD: Duration = Duration::from_secs(3600);

fn job(context: &Context, party: &Party, period: Duration) -> Result<Once, Failure> {
    Ok(party.locks.once(context.name(), period)?.with_label(&party.label))
}

/// A run of a job that does nothing.
async fn run(job: &Once) -> Result<Turn<Result<(), String>>, Failure> {
    Ok(job.run(|_| async { Ok::<_, String>(()) }).await?)
}

/// The last run that is recorded.
async fn last(job: &Once) -> Result<LastRun, Failure> {
    job.last_run().await?.ok_or_else(|| Failure::new("no run is recorded"))
}

/// What never ends; `begun` is told that it has begun.
async fn never(begun: Arc<Notify>) -> Result<(), String> {
    begun.notify_one();
    std::future::pending().await
}

async fn many_come_and_one_runs(context: Context) -> Verdict {
    const MACHINES: usize = 4;
    let runs = Arc::<AtomicU32>::default();
    let mut machines = Vec::new();
    for _ in 0..MACHINES {
        let client = context.client().await?;
        let (job, runs) = (job(&context, &client, PERIOD)?, runs.clone());
        machines.push(tokio::spawn(async move {
            let _connected = client;
            for _ in 0..5 {
                let work = |_| async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, String>(())
                };
                let _ = job.run(work).await?;
            }
            Ok::<_, lockcore::Error>(())
        }));
    }
    for machine in machines {
        tokio::time::timeout(context.patience(), machine).await???;
    }
    let runs = runs.load(Ordering::SeqCst);
    check!(runs == 1, "it ran {runs} times in one period");
    Ok(())
}

async fn the_end_is_recorded(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, his) = (job(&context, &alice, PERIOD)?, job(&context, &bob, PERIOD)?.again_if_failed());
    check!(his.last_run().await?.is_none(), "it ran before it ran");
    let ran = hers.run(|_| async { Err::<(), _>("no paper") }).await?;
    check!(ran == Turn::Ran(Err("no paper")), "{ran:?}");
    let failed = last(&his).await?;
    check!(failed.by == alice.label && failed.end == RunEnd::Failed("no paper".to_owned()), "{failed:?}");
    check!(failed.ended.is_some_and(|ended| ended >= failed.started), "{failed:?}");
    let turn = run(&hers).await?;
    check!(turn == Turn::NotDue(failed.clone()), "{turn:?}");
    check!(matches!(run(&his).await?, Turn::Ran(Ok(()))), "a failed run counts, although it should not");
    let well = last(&hers).await?;
    check!(well.by == bob.label && well.end == RunEnd::Succeeded && well.token > failed.token, "{well:?}");
    check!(matches!(run(&his).await?, Turn::NotDue(_)), "it ran twice in one period");
    Ok(())
}

async fn the_lock_is_kept_for_a_while(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let least = Duration::from_secs(1);
    let job = job(&context, &alice, PERIOD)?.hold_at_least(least);
    let lock = bob.locks.exclusive(context.name())?;
    let began = tokio::time::Instant::now();
    let running = tokio::spawn(async move { job.run(|_| async { Ok::<_, String>(()) }).await });
    let record =
        async || Ok(lock.record().await?.record.is_some_and(|record| record.text.contains("succeeded")));
    context.until("the work has ended", record).await?;
    // It may be over if this was slow.
    let busy = lock.try_acquire().await?.is_none();
    check!(busy || began.elapsed() >= least, "the lock was given back with the work");
    let ran = tokio::time::timeout(context.patience(), running).await???;
    check!(ran == Turn::Ran(Ok(())) && began.elapsed() >= least, "{ran:?} after {:?}", began.elapsed());
    context.until_empty(&*lock).await
}

async fn who_comes_while_it_runs_is_told_so(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, begun) = (job(&context, &alice, PERIOD)?, Arc::<Notify>::default());
    let told = begun.clone();
    let running = tokio::spawn(async move { hers.run(|_| never(told)).await });
    tokio::time::timeout(context.patience(), begun.notified()).await?;
    let his = job(&context, &bob, PERIOD)?.again_if_unfinished();
    let turn = run(&his).await?;
    check!(turn == Turn::Busy, "{turn:?} while it runs");
    let turn = run(&job(&context, &bob, PERIOD)?).await?;
    check!(matches!(turn, Turn::NotDue(LastRun { end: RunEnd::Unfinished, .. })), "{turn:?} while it runs");
    running.abort();
    Ok(())
}

/// As when its machine dies: the end is not recorded.
async fn a_run_that_breaks_off_counts_for_its_period(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, begun) = (job(&context, &alice, PERIOD)?, Arc::<Notify>::default());
    let told = begun.clone();
    let running = tokio::spawn(async move { hers.run(|_| never(told)).await });
    tokio::time::timeout(context.patience(), begun.notified()).await?;
    running.abort();
    alice.locks.close().await?;
    context.until_empty(&*bob.locks.exclusive(context.name())?).await?;
    let his = job(&context, &bob, PERIOD)?;
    let turn = run(&his).await?;
    let unfinished = last(&his).await?;
    check!(unfinished.end == RunEnd::Unfinished && unfinished.by == alice.label, "{unfinished:?}");
    check!(turn == Turn::NotDue(unfinished.clone()), "{turn:?} after a run that broke off");
    let turn = run(&his.again_if_unfinished()).await?;
    check!(turn == Turn::Ran(Ok(())), "{turn:?}, although it is to run again");
    Ok(())
}

async fn the_next_period_has_a_run_of_its_own(context: Context) -> Verdict {
    let period = Duration::from_secs(3);
    let (alice, bob) = context.pair().await?;
    let hers = job(&context, &alice, period)?.with_tolerance(Duration::ZERO);
    let his = job(&context, &bob, period)?.with_tolerance(Duration::ZERO);
    check!(matches!(run(&hers).await?, Turn::Ran(_)), "the first run is not due");
    let mut before = last(&hers).await?;
    for job in [&his, &hers] {
        context.until("it is due again", async || Ok(matches!(run(job).await, Ok(Turn::Ran(_))))).await?;
        let after = last(job).await?;
        let apart = after.started.duration_since(before.started).unwrap_or_default();
        check!(apart >= period && after.token > before.token, "{after:?} is {apart:?} after {before:?}");
        before = after;
    }
    Ok(())
}

async fn a_run_that_loses_its_lock_stops_and_counts(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (hers, begun) = (job(&context, &alice, PERIOD)?, Arc::<Notify>::default());
    let told = begun.clone();
    let running = tokio::spawn(async move { hers.run(|_| never(told)).await });
    tokio::time::timeout(context.patience(), begun.notified()).await?;
    alice.network()?.cut();
    let lock = bob.locks.exclusive(context.name())?;
    context.until_empty(&*lock).await?;
    let his = job(&context, &bob, PERIOD)?.again_if_unfinished();
    check!(matches!(run(&his).await?, Turn::Ran(Ok(()))), "a lost run keeps others from theirs");
    alice.network()?.heal();
    let ended = tokio::time::timeout(context.patience(), running).await??;
    check!(ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost), "ended with {ended:?}");
    let recorded = last(&his).await?;
    check!(recorded.by == bob.label && recorded.end == RunEnd::Succeeded, "the record is {recorded:?}");
    Ok(())
}
