//! While a guard is valid, no other guard that the rule excludes is valid.

use super::prelude::*;

trials!("exclusion", Clients: [
    two_clients_exclude_each_other,
    two_handles_of_one_client_exclude_each_other,
    one_label_is_not_one_owner,
    many_locks_on_one_session_are_independent,
    two_clients_with_many_locks_do_not_meet,
]);

async fn two_clients_exclude_each_other(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (to_alice, to_bob) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = to_alice.acquire().await?;
    check!(guard.is_valid(), "a fresh guard is not valid");
    check!(to_bob.try_acquire().await?.is_none(), "two holders");
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    check!(to_bob.try_acquire().await?.is_some(), "a released lock is not free");
    Ok(())
}

async fn two_handles_of_one_client_exclude_each_other(context: Context) -> Verdict {
    let alice = context.client().await?;
    let (first, second) = (alice.locks.exclusive(context.name())?, alice.locks.exclusive(context.name())?);
    let guard = first.acquire().await?;
    check!(first.try_acquire().await?.is_none(), "one handle holds twice");
    check!(second.try_acquire().await?.is_none(), "a session is taken for an owner");
    let waiting = context.enqueue(&second, alice.options(), 1).await?;
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn one_label_is_not_one_owner(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (to_alice, to_bob) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let options = AcquireOptions::new().with_label("the same");
    let guard = to_alice.acquire_with(&options).await?.ok_or_else(|| Failure::new("not granted"))?;
    let second = to_bob.acquire_with(&options.with_wait(Wait::Never)).await?;
    check!(second.is_none(), "an entry with the same label was taken for our own");
    guard.verify().await?;
    Ok(())
}

async fn many_locks_on_one_session_are_independent(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let name = |number: u32| format!("{}/{number}", context.name());
    let mut guards = Vec::new();
    for number in 0..50 {
        guards.push(alice.locks.exclusive(&name(number))?.acquire().await?);
    }
    drop(guards.remove(7));
    let freed = bob.locks.exclusive(&name(7))?.acquire_timeout(context.patience()).await?;
    check!(freed.is_some(), "a lock that was given back is not free");
    let other = bob.locks.exclusive(&name(8))?.try_acquire().await?;
    check!(other.is_none(), "giving one lock back freed another");
    for guard in &guards {
        guard.verify().await?;
    }
    Ok(())
}

async fn two_clients_with_many_locks_do_not_meet(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    for number in 0..10 {
        let (one, other) = (format!("{}/{number}", context.name()), format!("{}/-{number}", context.name()));
        let first = alice.locks.exclusive(&one)?.try_acquire().await?;
        let second = bob.locks.exclusive(&other)?.try_acquire().await?;
        check!(first.is_some() && second.is_some(), "{one:?} and {other:?} exclude each other");
    }
    Ok(())
}
