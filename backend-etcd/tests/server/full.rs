//! A database that is full refuses whatever writes, and nothing else.

use conformance::server;
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions};
use lockcore::queue::Standing;
use lockcore::{Effect, ErrorKind, QueueBackend, Removed};

use crate::bed::{
    Bed, enqueue, enqueue_unanswered, exclusive, hold, late, lock, long, repeat, through, waits,
};

async fn small() -> Bed {
    let quota = ["--quota-backend-bytes=4000000".to_owned()];
    Bed::on(server::Etcd::start_with_arguments(&quota).await.unwrap()).await
}

async fn fill(bed: &Bed) {
    while bed.admin.kv_client().put("/filler", vec![0; 1_000_000], None).await.is_ok() {}
}

/// Makes room again, as an operator does.
async fn empty(bed: &Bed) {
    let deleted = bed.admin.kv_client().delete("/filler", None).await.unwrap();
    let options = CompactionOptions::new().with_physical();
    bed.admin.kv_client().compact(deleted.header().unwrap().revision(), Some(options)).await.unwrap();
    let mut maintenance = bed.admin.maintenance_client();
    maintenance.defragment().await.unwrap();
    for raised in maintenance.alarm(AlarmAction::Get, AlarmType::Nospace, None).await.unwrap().alarms() {
        let mut options = AlarmOptions::new();
        options.with_member(raised.member_id());
        maintenance.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options)).await.unwrap();
    }
}

fn is_full<T: std::fmt::Debug>(answer: lockcore::Result<T>) {
    let error = answer.unwrap_err();
    let properties = (error.kind(), error.effect(), error.is_retryable());
    assert_eq!(properties, (ErrorKind::Backend, Effect::Unknown, false), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_refused_and_let_go_of() {
    let (bed, lock, [first, second]) = (small().await, lock("a"), [exclusive(), exclusive()]);
    let (session, next) = (bed.session().await, bed.session().await);
    enqueue(&session, &lock, &first).await;
    waits(&next, &lock, &second).await;
    fill(&bed).await;
    for _ in 0..3 {
        let refused = exclusive();
        is_full(session.enqueue(&lock, &refused).await);
        assert_eq!(session.remove(&lock, &refused.id).await.unwrap(), Removed::Absent);
    }
    assert_eq!(session.remove(&lock, &first.id).await.unwrap(), Removed::Now);
    assert_eq!(repeat("a look", || next.look(&lock, &second.id)).await, Standing::Holds);
    empty(&bed).await;
    waits(&session, &lock, &exclusive()).await;
}

/// Its removal would write a message.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_successor_is_known_is_let_go_of() {
    let (bed, lock, entries) = (small().await, lock("a"), [exclusive(), exclusive(), exclusive()]);
    let sessions = [bed.session().await, bed.session().await, bed.session().await];
    let mut standings = Vec::new();
    for (session, entry) in sessions.iter().zip(&entries) {
        standings.push(enqueue(session, &lock, entry).await.standing);
        bed.put(&bed.inbox(&entry.id).await, "nonsense").await;
    }
    assert_eq!(sessions[0].remove(&lock, &entries[0].id).await.unwrap(), Removed::Now);
    hold(&sessions[1], &lock, &entries[1], standings.remove(1)).await;
    fill(&bed).await;
    assert_eq!(sessions[1].remove(&lock, &entries[1].id).await.unwrap(), Removed::Now);
    hold(&sessions[2], &lock, &entries[2], standings.remove(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_adopted_is_let_go_of() {
    let bed = small().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock("a"));
    let adopted = exclusive();
    enqueue_unanswered(&bed, &session, &proxy, &lock, &adopted).await;
    assert_eq!(enqueue(&session, &lock, &adopted).await.standing, Standing::Holds);
    let repeated = long();
    late(&session, &proxy, repeated.label.len(), session.enqueue(&lock, &repeated)).await;
    waits(&session, &lock, &repeated).await;
    fill(&bed).await;
    assert_eq!(session.remove(&lock, &adopted.id).await.unwrap(), Removed::Now);
    assert_eq!(session.remove(&lock, &repeated.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_never_answered_is_gone_although_the_removal_has_to_be_repeated() {
    let bed = small().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock("a"));
    let (unanswered, delayed) = (exclusive(), long());
    enqueue_unanswered(&bed, &session, &proxy, &lock, &unanswered).await;
    late(&session, &proxy, delayed.label.len(), session.enqueue(&lock, &delayed)).await;
    fill(&bed).await;
    is_full(session.remove(&lock, &unanswered.id).await);
    assert_eq!(bed.entries().await, Vec::<String>::new());
    is_full(session.remove(&lock, &delayed.id).await);
    empty(&bed).await;
    for id in [&unanswered.id, &delayed.id] {
        assert_eq!(session.remove(&lock, id).await.unwrap(), Removed::Absent);
    }
    bed.deliver(&proxy).await;
    assert_eq!(bed.entries().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_opened() {
    let bed = small().await;
    fill(&bed).await;
    is_full(backend_etcd::Etcd::new(bed.options()).open_session().await);
}
