//! The queue can be looked at.

use lockcore::{EntryKind, Family};

use super::prelude::*;

trials!("view", Clients: [
    holders_and_waiters_are_shown_in_order,
    permits_are_shown,
    host_and_process_are_shown_beside_any_label,
    a_followed_queue_shows_who_comes_and_goes,
    names_of_both_families_are_listed,
    labels_are_data,
    long_labels_are_refused,
    the_session_is_live,
]);

async fn holders_and_waiters_are_shown_in_order(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (exclusive, shared) = (alice.locks.exclusive(context.name())?, bob.locks.shared(context.name())?);
    let guard = exclusive.acquire_with(&alice.options()).await?;
    let waiting = context.enqueue(&shared, bob.options(), 1).await?;
    let queue = exclusive.queue().await?;
    let shown: Vec<_> =
        queue.iter().map(|entry| (entry.position, entry.holds, entry.kind, &*entry.label)).collect();
    let expected =
        [(0, true, EntryKind::Exclusive, &*alice.label), (1, false, EntryKind::Shared, &*bob.label)];
    check!(shown == expected, "{shown:?} is not {expected:?}");
    check!(queue[0].token < queue[1].token, "tokens do not rise along the queue");
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn permits_are_shown(context: Context) -> Verdict {
    let alice = context.client().await?;
    let semaphore = alice.locks.semaphore(context.name(), 5)?;
    let guard = semaphore.acquire_with(&alice.options().with_permits(3)).await?;
    let queue = semaphore.queue().await?;
    let kinds: Vec<EntryKind> = queue.iter().map(|entry| entry.kind).collect();
    check!(kinds == [EntryKind::Permits { permits: 3, limit: 5 }], "{kinds:?}");
    check!(queue.free_permits == Some(2), "{:?} of 5 are free, and 3 are held", queue.free_permits);
    let other = alice.locks.exclusive(context.name())?.queue().await?;
    check!(other.free_permits.is_none(), "a lock has permits: {:?}", other.free_permits);
    drop(guard);
    Ok(())
}

async fn host_and_process_are_shown_beside_any_label(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    for label in [None, Some("nightly backup"), Some("host:1"), Some("")] {
        let options = label.into_iter().fold(AcquireOptions::new(), AcquireOptions::with_label);
        let guard = lock.acquire_with(&options).await?;
        let queue = lock.queue().await?;
        check!(queue.len() == 1 && queue[0].pid == Some(std::process::id()), "{label:?}: {queue:?}");
        check!(queue[0].host.as_ref().is_some_and(|host| !host.is_empty()), "{label:?}: {queue:?}");
        check!(label.is_none_or(|label| queue[0].label == label), "{label:?}: {queue:?}");
        drop(guard);
        context.until_empty(&*lock).await?;
    }
    Ok(())
}

async fn a_followed_queue_shows_who_comes_and_goes(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let mut followed = bob.locks.exclusive(context.name())?.watch_queue();
    check!(followed.next().await?.is_empty(), "nobody has come yet");
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let mut until = async |what: &str, wanted: usize| {
        let seen = async {
            while followed.next().await?.len() != wanted {}
            Ok::<_, lockcore::Error>(())
        };
        match tokio::time::timeout(context.patience(), seen).await {
            Ok(seen) => Ok(seen?),
            Err(_) => Err(Failure::new(format!("never shown: {what}"))),
        }
    };
    until("one holds and one waits", 2).await?;
    drop(guard);
    let guard = context.granted(waiting).await?;
    until("one is left", 1).await?;
    drop(guard);
    until("nobody is left", 0).await
}

async fn names_of_both_families_are_listed(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.shared(context.name())?.acquire().await?;
    let semaphore = alice.locks.semaphore(context.name(), 5)?.acquire().await?;
    let names = alice.locks.names().await?;
    for family in [Family::Lock, Family::Semaphore] {
        let listed = names.iter().any(|key| key.family == family && key.name == *lock.name());
        check!(listed, "the {family} is not listed");
    }
    drop((lock, semaphore));
    Ok(())
}

async fn labels_are_data(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    for label in ["", " ", "a/b", "\0", "\r\n", "🔒", "$(id)", "%2F", &"x".repeat(512)] {
        let guard = lock.acquire_with(&AcquireOptions::new().with_label(label)).await?;
        let queue = lock.queue().await?;
        check!(queue.len() == 1 && queue[0].label == label, "{label:?} became {queue:?}");
        drop(guard);
        context.until_empty(&*lock).await?;
    }
    Ok(())
}

async fn long_labels_are_refused(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let refused = lock.acquire_with(&AcquireOptions::new().with_label("x".repeat(513))).await;
    check!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "a long label is accepted");
    check!(lock.queue().await?.is_empty(), "a refused request left an entry");
    Ok(())
}

async fn the_session_is_live(context: Context) -> Verdict {
    let alice = context.client().await?;
    let state = alice.locks.session();
    check!(state == lockcore::SessionState::Live, "a new session is {state:?}");
    Ok(())
}
