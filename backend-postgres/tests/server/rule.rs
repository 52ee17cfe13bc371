//! What an entry is shown of its queue decides as the whole queue does.

use backend_postgres::Postgres as Backend;
use conformance::server::Postgres;
use lockcore::queue::{Standing, standing};
use lockcore::{
    Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession, Removed, Revision,
};
use rand::RngExt;

use crate::bed::options;

fn entry(family: Family, limit: u32) -> Entry {
    let mut random = rand::rng();
    let kind = match family {
        Family::Lock if random.random() => EntryKind::Shared,
        Family::Lock => EntryKind::Exclusive,
        Family::Semaphore => EntryKind::Permits { permits: random.random_range(1..=limit), limit },
    };
    Entry { id: EntryId::random(), kind, label: "".into() }
}

/// Whether it holds.
fn holds(standing: &Standing) -> bool {
    match standing {
        Standing::Holds => true,
        Standing::Waits { wake, .. } => {
            assert!(!wake.is_empty());
            false
        }
        other => panic!("{other:?}"),
    }
}

async fn agree(session: &dyn QueueSession, lock: &LockKey, there: &[EntryId]) {
    let queue = session.list(lock).await.unwrap().entries;
    assert_eq!(queue.iter().map(|entry| &entry.id).collect::<Vec<_>>(), there.iter().collect::<Vec<_>>());
    for id in there {
        let (whole, shown) =
            (standing(&queue, id, Revision::default()), session.look(lock, id).await.unwrap());
        assert_eq!(holds(&shown), holds(&whole), "{id} in {queue:?}");
    }
}

#[tokio::test]
async fn on_random_histories() {
    let server = Postgres::start().await.unwrap();
    let session = Backend::new(options(&server)).open_session().await.unwrap();
    for round in 0..40 {
        let family = if round % 2 == 0 { Family::Semaphore } else { Family::Lock };
        let lock = LockKey { family, name: LockName::new(&format!("lock/{round}")).unwrap() };
        let limit = round / 8 + 1;
        let mut there: Vec<EntryId> = Vec::new();
        for _ in 0..16 {
            if rand::rng().random_ratio(2, 3) || there.is_empty() {
                let entry = entry(family, limit);
                let appended = session.enqueue(&lock, &entry).await.unwrap();
                there.push(entry.id.clone());
                assert_eq!(holds(&appended.standing), holds(&session.look(&lock, &entry.id).await.unwrap()));
            } else {
                let gone = there.remove(rand::rng().random_range(0..there.len()));
                assert_eq!(session.remove(&lock, &gone).await.unwrap(), Removed::Now);
                assert_eq!(session.remove(&lock, &gone).await.unwrap(), Removed::Absent);
            }
            agree(&*session, &lock, &there).await;
        }
    }
}

#[tokio::test]
async fn who_disagrees_about_the_limit_is_told_and_does_not_queue() {
    let server = Postgres::start().await.unwrap();
    let session = Backend::new(options(&server)).open_session().await.unwrap();
    let lock = LockKey { family: Family::Semaphore, name: LockName::new("a").unwrap() };
    session.enqueue(&lock, &entry(Family::Semaphore, 3)).await.unwrap();
    let told = session.enqueue(&lock, &entry(Family::Semaphore, 2)).await.unwrap().standing;
    assert_eq!(told, Standing::LimitMismatch { theirs: 3 });
    assert_eq!(session.list(&lock).await.unwrap().entries.len(), 1);
}
