//! How sessions on etcd begin, live and end, against a real server.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::bed::{Bed, enqueue, eventually, exclusive, lock, open, repeat, within};
use backend_etcd::{Etcd, EtcdOptions};
use conformance::proxy::Proxy;
use lockcore::queue::Standing;
use lockcore::{ErrorKind, Loss, QueueBackend, Removed, Revision, SessionState};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_revoked_is_a_loss() {
    let bed = Bed::new().await;
    let (session, next, lock) = (bed.session().await, bed.session().await, lock("a"));
    let (ours, theirs) = (exclusive(), exclusive());
    enqueue(&session, &lock, &ours).await;
    let Standing::Waits { wake, seen } = enqueue(&next, &lock, &theirs).await.standing else { panic!() };
    let lease = bed.find(&ours.id).await.unwrap().lease();
    let revoke = bed.admin.lease_client();
    let revoked = async { revoke.clone().revoke(lease).await.unwrap() };
    within("the departure", async { tokio::join!(next.watch(&lock, &theirs.id, &wake, seen), revoked).0 })
        .await
        .unwrap();
    assert_eq!(next.look(&lock, &theirs.id).await.unwrap(), Standing::Holds);
    // Whatever asks first notices.
    assert_eq!(session.look(&lock, &ours.id).await.unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(session.lease().loss(), Some(Loss::Expired));
    assert_eq!(session.enqueue(&lock, &exclusive()).await.unwrap_err().kind(), ErrorKind::SessionLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_its_key_takes_no_entries() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let own = bed.under("/fairlock/session/").await.remove(0);
    bed.delete(own.key_str().unwrap()).await;
    assert_eq!(session.enqueue(&lock, &exclusive()).await.unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(bed.entries().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_keeps_the_lock() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    let token = enqueue(&session, &lock, &entry).await.token;
    bed.server.kill().unwrap();
    eventually("doubt", || async { matches!(session.lease().state(), SessionState::Doubtful { .. }) }).await;
    bed.server.restart().await.unwrap();
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(enqueue(&session, &lock, &entry).await.token, token);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_out_of_reach_are_an_error_that_names_them() {
    let bed = Bed::new().await;
    let (silent, closed) = (bed.proxy().await, bed.proxy().await);
    silent.hold();
    closed.cut();
    for proxy in [&silent, &closed] {
        let address = proxy.address().to_string();
        let options = EtcdOptions::new([&address]).with_connect_timeout(Duration::from_millis(300));
        let error = within("the connect timeout", Etcd::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains(&address) && error.to_string().contains("300ms"), "{error}");
    }
    let servers =
        [silent.address().to_string(), closed.address().to_string(), bed.server.address().to_owned()];
    let session = open(EtcdOptions::new(servers)).await;
    assert_eq!(session.enqueue(&lock("a"), &exclusive()).await.unwrap().standing, Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_the_operation_the_lock_and_the_server() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let server = proxy.address().to_string();
    let options = EtcdOptions::new([&server]).with_session_timeout(Duration::from_secs(60));
    let session = open(options.with_connect_timeout(Duration::from_millis(500))).await;
    let (lock, entry) = (lock("orders/42"), exclusive());
    enqueue(&session, &lock, &entry).await;
    proxy.cut();
    let told = |operation: &str, error: lockcore::Error| {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
        assert!(
            text.starts_with(&format!("{operation} lock \"orders/42\": ")) && text.contains(&server),
            "{text}"
        );
    };
    told("append to the queue of", session.enqueue(&lock, &exclusive()).await.unwrap_err());
    told("list the queue of", session.list(&lock).await.unwrap_err());
    told("look at the queue of", session.look(&lock, &entry.id).await.unwrap_err());
    told(
        "watch the queue of",
        session.watch(&lock, &entry.id, std::slice::from_ref(&entry.id), Revision(0)).await.unwrap_err(),
    );
    told("describe the queue of", session.describe(&lock).await.unwrap_err());
    told("remove from the queue of", session.remove(&lock, &entry.id).await.unwrap_err());
    for error in [session.names().await.unwrap_err(), session.close().await.unwrap_err()] {
        assert!(error.to_string().contains(&server), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_replaced_before_the_session_is_lost() {
    let bed = Bed::new().await;
    let proxies = [bed.proxy().await, bed.proxy().await];
    let servers = proxies.each_ref().map(|proxy| proxy.address().to_string());
    let session = open(EtcdOptions::new(servers).with_session_timeout(Duration::from_secs(3))).await;
    let (lock, first, second) = (lock("a"), exclusive(), exclusive());
    enqueue(&session, &lock, &first).await;
    let Standing::Waits { wake, seen } = enqueue(&session, &lock, &second).await.standing else { panic!() };
    // Whichever it uses, one of the two rounds hits it.
    for proxy in &proxies {
        proxy.hold();
        let until = session.lease().now() + Duration::from_secs(4);
        eventually("more than a session", || async { session.lease().now() > until }).await;
        assert_eq!(session.lease().loss(), None);
        assert_eq!(enqueue(&session, &lock, &first).await.standing, Standing::Holds);
        proxy.heal();
    }
    let leave = repeat("removal", || session.remove(&lock, &first.id));
    within("the departure", async { tokio::join!(session.watch(&lock, &second.id, &wake, seen), leave).0 })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_may_have_ipv6_addresses() {
    let bed = Bed::new().await;
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), bed.server.address()).await.unwrap();
    let url = format!("etcd://{}", proxy.address()).parse().unwrap();
    let (session, lock, entry) = (open(EtcdOptions::from_url(&url).unwrap()).await, lock("a"), exclusive());
    assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}
