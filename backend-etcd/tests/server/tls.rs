//! Certificates, of the servers and of ours.

use backend_etcd::{Etcd, EtcdOptions};
use conformance::certificates::{Certificates, ELSEWHERE, REFUSED, counts_when_renewed, is_refused};
use conformance::server;
use lockcore::{LockUrl, Revision, TlsFiles};

use crate::bed::{enqueue, exclusive, lock, open, within};

fn with_tls(server: &server::Etcd, files: TlsFiles) -> Etcd {
    Etcd::new(EtcdOptions::new([server.address()]).with_tls(files))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_both_directions() {
    let certificates = Certificates::new().unwrap();
    let path = |name: &str| certificates.path(name).display().to_string();
    let server = server::Etcd::start_tls(certificates.of("elsewhere")).await.unwrap();
    let url = format!(
        "etcds://{}/app?ca={}&cert={}&key={}&domain={ELSEWHERE}",
        server.address(),
        path("ca.pem"),
        path("client.pem"),
        path("client.key"),
    );
    let options = EtcdOptions::from_url(&url.parse::<LockUrl>().unwrap()).unwrap();
    let (session, lock, entry) = (open(options).await, lock("a"), exclusive());
    let token = enqueue(&session, &lock, &entry).await.token;
    let watch = session.watch(&lock, &entry.id, std::slice::from_ref(&entry.id), Revision(token.get()));
    let leave = async { session.remove(&lock, &entry.id).await.unwrap() };
    within("the departure", async { tokio::join!(watch, leave).0 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tls_refuses_is_told_with_server_and_reason() {
    let certificates = Certificates::new().unwrap();
    for (certificate, cases) in REFUSED {
        let server = server::Etcd::start_tls(certificates.of(certificate)).await.unwrap();
        for (authority, ours, reason) in cases {
            is_refused(with_tls(&server, certificates.files(authority, *ours)), server.address(), reason)
                .await;
        }
    }
}

/// This machine does not trust the authority of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_the_authorities_of_the_machine_count() {
    let certificates = Certificates::new().unwrap();
    let server = server::Etcd::start_tls(certificates.of("server")).await.unwrap();
    is_refused(with_tls(&server, TlsFiles::new()), server.address(), "UnknownIssuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_is_used_by_the_next_session() {
    let certificates = Certificates::new().unwrap();
    let server = server::Etcd::start_tls(certificates.of("server")).await.unwrap();
    let backend = with_tls(&server, certificates.files("ca", Some("stranger")));
    counts_when_renewed(&certificates, backend).await;
}
