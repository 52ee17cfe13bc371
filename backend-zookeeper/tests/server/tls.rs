//! Certificates, of the servers and of ours.

use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
use conformance::certificates::{Certificates, REFUSED, counts_when_renewed, is_refused};
use conformance::server;
use lockcore::queue::Standing;
use lockcore::{ErrorKind, LockUrl, TlsFiles};

use crate::bed::{enqueue, exclusive, lives, lock, open};

fn with_tls(server: &server::ZooKeeper, files: TlsFiles) -> ZooKeeper {
    ZooKeeper::new(ZooKeeperOptions::new([server.secure_address()]).with_tls(files).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_both_directions() {
    let certificates = Certificates::new().unwrap();
    let path = |name: &str| certificates.path(name).display().to_string();
    let server = server::ZooKeeper::start_tls(certificates.of("server")).await.unwrap();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let files = format!("ca={ca}&cert={cert}&key={key}");
    for url in [
        format!("zookeepers://{}?{files}", server.secure_address()),
        format!("zookeeper://{}?tls=true&{files}", server.secure_address()),
    ] {
        let session = open(ZooKeeperOptions::from_url(&url.parse::<LockUrl>().unwrap()).unwrap()).await;
        assert_eq!(enqueue(&session, &lock("a"), &exclusive()).await.standing, Standing::Holds);
        lives(&session).await;
        session.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tls_refuses_is_told_with_server_and_reason() {
    let certificates = Certificates::new().unwrap();
    for (certificate, cases) in REFUSED {
        let server = server::ZooKeeper::start_tls(certificates.of(certificate)).await.unwrap();
        for (authority, ours, reason) in cases {
            is_refused(
                with_tls(&server, certificates.files(authority, *ours)),
                server.secure_address(),
                reason,
            )
            .await;
        }
    }
}

/// This machine does not trust the authority of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_the_authorities_of_the_machine_count() {
    let certificates = Certificates::new().unwrap();
    let server = server::ZooKeeper::start_tls(certificates.of("server")).await.unwrap();
    is_refused(with_tls(&server, TlsFiles::new()), server.secure_address(), "UnknownIssuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_is_used_by_the_next_session() {
    let certificates = Certificates::new().unwrap();
    let server = server::ZooKeeper::start_tls(certificates.of("server")).await.unwrap();
    let backend = with_tls(&server, certificates.files("ca", Some("stranger")));
    counts_when_renewed(&certificates, backend).await;
}

#[test]
fn a_server_that_can_have_no_certificate_is_refused() {
    let error = ZooKeeperOptions::new(["zk 1:2181"]).with_tls(TlsFiles::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("zk 1:2181"), "{error}");
}
