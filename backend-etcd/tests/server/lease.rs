//! How long a session is sure to live, against a real server.

use std::time::Duration;

use backend_etcd::{Etcd, EtcdOptions};
use lockcore::session::{Clock, Lease, Moment};
use lockcore::{Loss, QueueBackend, SessionState};

use crate::bed::{Bed, eventually, open, within};

const SESSION: Duration = Duration::from_secs(12);
/// What the lease counts of it.
const SURE: Duration = Duration::from_millis(9600);

fn deadline(lease: &Lease) -> Moment {
    let now = lease.now();
    now + lease.remaining().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_what_the_server_grants() {
    let bed = Bed::new().await;
    let session = open(bed.options().with_session_timeout(Duration::from_millis(100))).await;
    let lease = bed.under("/fairlock/session/").await[0].lease();
    let granted = bed.admin.lease_client().time_to_live(lease, None).await.unwrap().granted_ttl();
    let interval = session.lease().renewal_interval().unwrap();
    assert_eq!(interval, Duration::from_secs(granted.try_into().unwrap()) / 6);
    assert_eq!(granted, 2);
}

/// Waits until the deadline is later than it was, by more than it takes to read the clock twice.
async fn renewal(lease: &Lease, before: Moment) {
    eventually("a renewal", || async { deadline(lease) > before + Duration::from_millis(100) }).await;
}

/// On one thread, so that nothing renews the session before we have looked.
#[tokio::test]
async fn a_new_session_counts_from_before_anything_is_sent() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let options = EtcdOptions::new([proxy.address().to_string()]).with_session_timeout(SESSION);
    let backend = Etcd::new(options);
    proxy.hold();
    let heal = async {
        eventually("a request", || async { proxy.held() > 0 }).await;
        let healed = Clock::Boot.now();
        proxy.heal();
        healed
    };
    let (session, healed) = tokio::join!(backend.open_session(), heal);
    assert!(deadline(session.unwrap().lease()) < healed + SURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_counts_from_its_sending() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let options = EtcdOptions::new([proxy.address().to_string()]).with_session_timeout(SESSION);
    let session = open(options).await;
    let lease = session.lease();
    renewal(lease, deadline(lease)).await;
    proxy.hold();
    let (before, sent) = (deadline(lease), lease.now() + lease.renewal_interval().unwrap() * 3 / 2);
    eventually("a renewal is under way", || async { lease.now() > sent }).await;
    let healed = lease.now();
    proxy.heal();
    renewal(lease, before).await;
    assert!(deadline(lease) < healed + SURE);
}

#[derive(Debug, Clone, Copy)]
enum End {
    Revoked,
    KeyDeleted,
    KeyOfAnother,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_notices_the_end_of_the_lease_or_of_the_session_key() {
    let bed = Bed::new().await;
    for end in [End::Revoked, End::KeyDeleted, End::KeyOfAnother] {
        let session = open(bed.options().with_session_timeout(SESSION)).await;
        let own = bed.under("/fairlock/session/").await.remove(0);
        // Opening the stream of renewals renews as well, and asks for the key.
        renewal(session.lease(), deadline(session.lease())).await;
        match end {
            End::Revoked => drop(bed.admin.lease_client().revoke(own.lease()).await.unwrap()),
            End::KeyDeleted => bed.delete(own.key_str().unwrap()).await,
            End::KeyOfAnother => bed.put(own.key_str().unwrap(), "").await,
        }
        assert_eq!(within("the loss", session.lease().lost()).await, Loss::Expired, "{end:?}");
    }
}

/// Nor is it believed to be there before it has been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_renews_no_session_that_is_over() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let options = EtcdOptions::new([proxy.address().to_string()]).with_session_timeout(SESSION);
    let session = open(options).await;
    let lease = session.lease();
    renewal(lease, deadline(lease)).await;
    proxy.cut();
    eventually("doubt", || async { matches!(lease.state(), SessionState::Doubtful { .. }) }).await;
    let own = bed.under("/fairlock/session/").await.remove(0);
    bed.delete(own.key_str().unwrap()).await;
    let latest = deadline(lease) + Duration::from_millis(100);
    proxy.heal();
    eventually("the loss", || async {
        assert!(deadline(lease) < latest, "it was renewed");
        lease.loss().is_some()
    })
    .await;
    assert_eq!(lease.loss(), Some(Loss::Expired));
}
