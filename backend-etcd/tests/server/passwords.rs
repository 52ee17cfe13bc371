//! Users, passwords and tokens that expire, against a real server.

use std::time::Duration;

use backend_etcd::{Etcd, EtcdOptions};
use conformance::server;
use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use lockcore::queue::{QueueLocks, Standing};
use lockcore::{
    DistributedLockExt, ErrorKind, LockService, QueueBackend, Released, Removed, Secret, SessionState,
};

use crate::bed::{Bed, enqueue, eventually, exclusive, hold, lock, open, repeat, within};

fn app(bed: &Bed) -> EtcdOptions {
    bed.options().with_root("/app").unwrap().with_user("me", "secret")
}

/// A client that may do everything.
async fn root(bed: &Bed) -> Client {
    let options = ConnectOptions::new().with_user("root", "secret").with_auto_token_refresh(true);
    Client::connect([bed.server.address()], Some(options)).await.unwrap()
}

/// Turns authentication on, with the users root and me; me may use the keys below `/app/`, and read
/// those below `/read/`.
async fn secure(bed: &Bed) {
    let mut admin = bed.admin.auth_client();
    for user in ["root", "me"] {
        admin.user_add(user, "secret", None).await.unwrap();
        admin.role_add(user).await.unwrap();
        admin.user_grant_role(user, user).await.unwrap();
    }
    for (kind, prefix) in [(PermissionType::Readwrite, "/app/"), (PermissionType::Read, "/read/")] {
        let permission = Permission::new(kind, prefix).with_prefix();
        admin.role_grant_permission("me", permission).await.unwrap();
    }
    admin.auth_enable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_password_or_no_permission_is_told_so() {
    let bed = Bed::new().await;
    secure(&bed).await;
    let anybody = bed.options().with_root("/app").unwrap();
    for options in [
        anybody.clone(),
        anybody.clone().with_user("me", "guess"),
        anybody.with_user("you", "secret"),
        bed.options().with_user("me", "secret"),
    ] {
        let error = within("a refusal", Etcd::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(!format!("{error:?}").contains("secret") && !format!("{error:?}").contains("guess"));
    }
    let (session, lock, entry) = (open(app(&bed)).await, lock("a"), exclusive());
    assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
    assert_eq!(session.names().await.unwrap(), std::slice::from_ref(&lock));
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    session.close().await.unwrap();
}

/// A server that restarts has forgotten all tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_does_not_know_any_more_is_renewed() {
    let bed = Bed::new().await;
    secure(&bed).await;
    let (session, lock, [first, second]) = (open(app(&bed)).await, lock("a"), [exclusive(), exclusive()]);
    enqueue(&session, &lock, &first).await;
    bed.server.restart().await.unwrap();
    let Standing::Waits { wake, seen } = enqueue(&session, &lock, &second).await.standing else { panic!() };
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    let leave = repeat("removal", || session.remove(&lock, &first.id));
    within("the departure", async { tokio::join!(session.watch(&lock, &second.id, &wake, seen), leave).0 })
        .await
        .unwrap();
    assert_eq!(repeat("a look", || session.look(&lock, &second.id)).await, Standing::Holds);
    assert_eq!(root(&bed).await.kv_client().get("/app/session", None).await.unwrap().count(), 0);
}

/// etcd asks for a token when a watch is set, which may be long after the stream was opened with one.
#[tokio::test(flavor = "multi_thread")]
async fn watches_are_set_although_the_token_of_their_stream_has_expired() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "no secret").unwrap();
    let tokens = format!("--auth-token=jwt,priv-key={},sign-method=HS256,ttl=1s", key.path().display());
    let bed = Bed::on(server::Etcd::start_with_arguments(&[tokens]).await.unwrap()).await;
    secure(&bed).await;
    let (session, admin, lock, [first, second]) =
        (open(app(&bed)).await, root(&bed).await, lock("a"), [exclusive(), exclusive()]);
    enqueue(&session, &lock, &first).await;
    let standing = enqueue(&session, &lock, &second).await.standing;
    let expired = session.lease().now() + Duration::from_secs(2);
    eventually("an expired token", || async { session.lease().now() > expired }).await;
    admin.kv_client().delete("/app/lock/a/ex-0-0", None).await.unwrap();
    hold(&session, &lock, &second, standing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_opened_leaves_no_lease() {
    let bed = Bed::new().await;
    secure(&bed).await;
    let options = bed.options().with_root("/read").unwrap().with_user("me", "secret");
    let error =
        Etcd::new(options.with_session_timeout(Duration::from_secs(600))).open_session().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let admin = root(&bed).await;
    let leases = async || admin.lease_client().leases().await.unwrap().leases().len();
    eventually("no lease", || async { leases().await == 0 }).await;
}

/// The renewals of the session are further apart than the token lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_between_requests_is_renewed() {
    let bed =
        Bed::on(server::Etcd::start_with_arguments(&["--auth-token-ttl=1".to_owned()]).await.unwrap()).await;
    secure(&bed).await;
    let options = app(&bed).with_session_timeout(Duration::from_secs(15));
    let (session, lock, [first, second]) = (open(options).await, lock("a"), [exclusive(), exclusive()]);
    enqueue(&session, &lock, &first).await;
    let standing = enqueue(&session, &lock, &second).await.standing;
    let renewed = session.lease().now() + Duration::from_secs(20);
    eventually("more than one session time", || async { session.lease().now() > renewed }).await;
    assert_eq!(session.lease().state(), SessionState::Live);
    assert_eq!(repeat("removal", || session.remove(&lock, &first.id)).await, Removed::Now);
    hold(&session, &lock, &second, standing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_rotated_is_used_by_the_session_that_there_is() {
    let bed = Bed::new().await;
    secure(&bed).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let options = bed.options().with_root("/app").unwrap().with_user("me", Secret::in_file(file.path()));
    let locks = QueueLocks::connect(Etcd::new(options)).await.unwrap();
    let guard = locks.exclusive("a").unwrap().acquire().await.unwrap();
    std::fs::write(file.path(), "changed\n").unwrap();
    root(&bed).await.auth_client().user_change_password("me", "changed").await.unwrap();
    let other = within("another lock", locks.exclusive("b").unwrap().acquire()).await.unwrap();
    for guard in [guard, other] {
        assert_eq!(within("release", guard.release()).await.unwrap(), Released::Held);
    }
}
