//! What is recorded about a lock outlives those who wrote it, and belongs to the latest of them.

use lockcore::{FencingToken, LockKey, Record};

use super::prelude::*;

trials!("record", Clients: [
    a_record_outlives_its_writer,
    a_former_holder_does_not_overwrite_a_later_one,
    records_are_data,
    each_lock_has_a_record_of_its_own,
    a_record_is_no_trace_of_a_lock,
    writers_at_once_leave_the_record_of_the_latest,
]);

fn token(value: u64) -> FencingToken {
    FencingToken::new(value)
}

async fn read(lock: &dyn DistributedLock) -> Result<Option<(u64, String)>, Failure> {
    let record = lock.record().await?.record;
    Ok(record.map(|Record { token, text }| (token.get(), text)))
}

async fn a_record_outlives_its_writer(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    check!(read(&*b).await?.is_none(), "a new lock has a record");
    let guard = a.acquire().await?;
    check!(a.set_record(guard.fencing_token(), "text").await?, "not recorded");
    let expected = Some((guard.fencing_token().get(), "text".to_owned()));
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    alice.locks.close().await?;
    bob.locks.cleanup().await?;
    let found = read(&*b).await?;
    check!(found == expected, "{expected:?} became {found:?}");
    let guard = b.acquire().await?;
    let found = read(&*b).await?;
    check!(found == expected, "{expected:?} became {found:?} for the next holder");
    drop(guard);
    Ok(())
}

async fn a_former_holder_does_not_overwrite_a_later_one(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    // The last two are the same number to those who count with 53 bits; text would take 9 for more than 10.
    for (former, later) in [(9, 10), (u64::MAX / 2 - 1, u64::MAX / 2)] {
        check!(a.set_record(token(former), "first").await?, "{former} not recorded");
        check!(b.set_record(token(later), "second").await?, "{later} not recorded");
        check!(!a.set_record(token(former), "late").await?, "{former} recorded after {later}");
        let found = read(&*a).await?;
        check!(found == Some((later, "second".to_owned())), "the record of {later} became {found:?}");
        check!(b.set_record(token(later), "again").await?, "{later} not recorded again");
    }
    Ok(())
}

async fn records_are_data(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let long = "x".repeat(Record::MAX);
    for text in ["", " ", "7 8", "\0", "\r\n", "🔒", "$(id)", "%2F", "{}", &long] {
        check!(lock.set_record(token(7), text).await?, "{text:?} not recorded");
        let found = read(&*lock).await?;
        check!(found == Some((7, text.to_owned())), "{text:?} became {found:?}");
    }
    let refused = lock.set_record(token(7), &"x".repeat(Record::MAX + 1)).await;
    check!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "a long record is accepted");
    Ok(())
}

async fn each_lock_has_a_record_of_its_own(context: Context) -> Verdict {
    let alice = context.client().await?;
    let long = format!("{}{}", context.name(), "/é".repeat(140));
    let names = [context.name(), &format!("{}/a", context.name()), &format!("{}%2Fa", context.name()), &long];
    let mut locks = vec![alice.locks.semaphore(context.name(), 3)?];
    for name in names {
        locks.push(alice.locks.exclusive(name)?);
    }
    for (number, lock) in (1..).zip(&locks) {
        check!(lock.set_record(token(number), &number.to_string()).await?, "not recorded");
    }
    for (number, lock) in (1..).zip(&locks) {
        let found = read(&**lock).await?;
        check!(found == Some((number, number.to_string())), "{number} became {found:?}");
    }
    // Of one queue, one record.
    let found = read(&*alice.locks.shared(context.name())?).await?;
    check!(found == Some((2, "2".to_owned())), "the shared lock has the record {found:?}");
    Ok(())
}

async fn a_record_is_no_trace_of_a_lock(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    check!(lock.set_record(token(1), "text").await?, "not recorded");
    let names = alice.locks.names().await?;
    let ours = |key: &LockKey| key.name.as_str().contains(context.name());
    check!(!names.iter().any(ours), "a lock that nobody used is listed: {names:?}");
    check!(lock.acquirable().await?, "a record keeps the lock from others");
    Ok(())
}

async fn writers_at_once_leave_the_record_of_the_latest(context: Context) -> Verdict {
    const WRITERS: u64 = 8;
    let clients = [context.client().await?, context.client().await?];
    let mut writers = Vec::new();
    for number in 1..=WRITERS {
        let lock = clients[number as usize % 2].locks.exclusive(context.name())?;
        writers.push(tokio::spawn(async move { lock.set_record(token(number), &number.to_string()).await }));
    }
    let mut last = false;
    for writer in writers {
        last = tokio::time::timeout(context.patience(), writer).await???;
    }
    check!(last, "the latest is not recorded");
    let found = read(&*clients[0].locks.exclusive(context.name())?).await?;
    check!(found == Some((WRITERS, WRITERS.to_string())), "the record is {found:?}");
    Ok(())
}
