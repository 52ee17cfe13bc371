//! How sessions on etcd begin, live and end, against a real server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bed::{Bed, enqueue, eventually, exclusive, lock, open, repeat, within};
use backend_etcd::{Etcd, EtcdOptions, EtcdTls};
use conformance::server;
use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use lockcore::queue::Standing;
use lockcore::{ErrorKind, LockUrl, Loss, QueueBackend, Removed, Revision, SessionState};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

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
    within("the departure", async { tokio::join!(next.watch(&lock, &wake, seen), revoked).0 }).await.unwrap();
    assert_eq!(next.look(&lock, &theirs.id).await.unwrap(), Standing::Holds);
    // Whatever asks first notices.
    assert_eq!(session.look(&lock, &ours.id).await.unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(session.lease().loss(), Some(Loss::Expired));
    assert_eq!(session.enqueue(&lock, &exclusive()).await.unwrap_err().kind(), ErrorKind::SessionLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_notices_the_end_of_the_lease_or_of_the_session_key() {
    let bed = Bed::new().await;
    for revoke in [true, false] {
        let session = open(bed.options().with_session_timeout(Duration::from_secs(30))).await;
        let own = bed.under("/fairlock/session/").await.remove(0);
        if revoke {
            bed.admin.lease_client().revoke(own.lease()).await.unwrap();
        } else {
            bed.delete(own.key_str().unwrap()).await;
        }
        assert_eq!(within("the loss", session.lease().lost()).await, Loss::Expired);
        drop(session);
    }
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
    within("the departure", async { tokio::join!(session.watch(&lock, &wake, seen), leave).0 })
        .await
        .unwrap();
}

/// Turns authentication on, with the users root and me; me may use the keys below `/app/`.
async fn secure(bed: &Bed) {
    let mut admin = bed.admin.auth_client();
    for user in ["root", "me"] {
        admin.user_add(user, "secret", None).await.unwrap();
        admin.role_add(user).await.unwrap();
        admin.user_grant_role(user, user).await.unwrap();
    }
    let all = Permission::new(PermissionType::Readwrite, "/app/").with_prefix();
    admin.role_grant_permission("me", all).await.unwrap();
    admin.auth_enable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_password_or_no_permission_is_told_so() {
    let bed = Bed::new().await;
    secure(&bed).await;
    let app = bed.options().with_root("/app").unwrap();
    for options in [
        app.clone(),
        app.clone().with_user("me", "guess"),
        app.clone().with_user("you", "secret"),
        bed.options().with_user("me", "secret"),
    ] {
        let error = within("a refusal", Etcd::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(!format!("{error:?}").contains("secret") && !format!("{error:?}").contains("guess"));
    }
    let (session, lock, entry) = (open(app.with_user("me", "secret")).await, lock("a"), exclusive());
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
    let options = bed.options().with_root("/app").unwrap().with_user("me", "secret");
    let (session, lock, [first, second]) = (open(options).await, lock("a"), [exclusive(), exclusive()]);
    enqueue(&session, &lock, &first).await;
    bed.server.restart().await.unwrap();
    let Standing::Waits { wake, seen } = enqueue(&session, &lock, &second).await.standing else { panic!() };
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    let leave = repeat("removal", || session.remove(&lock, &first.id));
    within("the departure", async { tokio::join!(session.watch(&lock, &wake, seen), leave).0 })
        .await
        .unwrap();
    assert_eq!(repeat("a look", || session.look(&lock, &second.id)).await, Standing::Holds);
    let admin = ConnectOptions::new().with_user("root", "secret");
    let admin = Client::connect([bed.server.address()], Some(admin)).await.unwrap();
    assert_eq!(admin.kv_client().get("/app/session", None).await.unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_entries_and_lets_go_of_them() {
    let quota = ["--quota-backend-bytes=4000000".to_owned()];
    let bed = Bed::on(server::Etcd::start_with_arguments(&quota).await.unwrap()).await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    enqueue(&session, &lock, &entry).await;
    while bed.admin.kv_client().put("/filler", vec![0; 1_000_000], None).await.is_ok() {}
    let error = session.enqueue(&lock, &exclusive()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Backend, false), "{error:?}");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

/// An authority, and certificates for the server, for us, and of somebody else.
struct Certificates {
    directory: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let certificates = Self { directory: tempfile::tempdir().unwrap() };
        for (authority, subjects) in [("ca", &["server", "client"][..]), ("other-ca", &["stranger"])] {
            let mut parameters = CertificateParams::new(Vec::new()).unwrap();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, authority);
            let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
            certificates.write(&format!("{authority}.pem"), &issuer.pem());
            for subject in subjects {
                let key = KeyPair::generate().unwrap();
                let parameters = CertificateParams::new(vec!["etcd.example".to_owned()]).unwrap();
                let certificate = parameters.signed_by(&key, &issuer).unwrap();
                certificates.write(&format!("{subject}.pem"), &certificate.pem());
                certificates.write(&format!("{subject}.key"), &key.serialize_pem());
            }
        }
        certificates
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_both_directions() {
    let files = Certificates::new();
    let path = |name: &str| files.path(name);
    let [authority, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(path);
    let server = server::Etcd::start_tls(&authority, &certificate, &key).await.unwrap();
    let show = |path: PathBuf| Path::display(&path).to_string();
    let url = format!(
        "etcds://{}/app?ca={}&cert={}&key={}&domain=etcd.example",
        server.address(),
        show(path("ca.pem")),
        show(path("client.pem")),
        show(path("client.key")),
    );
    let options = EtcdOptions::from_url(&url.parse::<LockUrl>().unwrap()).unwrap();
    let (session, lock, entry) = (open(options.clone()).await, lock("a"), exclusive());
    let token = enqueue(&session, &lock, &entry).await.token;
    let watch = session.watch(&lock, std::slice::from_ref(&entry.id), Revision(token.get()));
    let leave = async { session.remove(&lock, &entry.id).await.unwrap() };
    within("the departure", async { tokio::join!(watch, leave).0 }).await.unwrap();

    let ours = EtcdTls::new().with_authority(path("ca.pem")).with_domain("etcd.example");
    let with_certificate = |tls: &EtcdTls, name: &str| {
        let [certificate, key] = ["pem", "key"].map(|kind| path(&format!("{name}.{kind}")));
        tls.clone().with_certificate(certificate, key)
    };
    for tls in [
        EtcdTls::new(),
        ours.clone(),
        with_certificate(&ours, "stranger"),
        with_certificate(&ours.clone().with_domain("elsewhere.example"), "client"),
        with_certificate(&ours.clone().with_authority(path("other-ca.pem")), "client"),
    ] {
        let options = options.clone().with_tls(tls.clone()).with_connect_timeout(Duration::from_secs(1));
        let error = within("a refusal", Etcd::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{tls:?}: {error:?}");
    }
}
