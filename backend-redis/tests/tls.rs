//! Certificates, of the servers and of ours, against real servers.

use backend_redis::{Redis, RedisOptions};
use conformance::certificates::{Certificates, REFUSED, counts_when_renewed, is_refused};
use conformance::server;
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, LockService, Released, TlsFiles};

async fn connect(url: &str) -> lockcore::Result<QueueLocks> {
    QueueLocks::connect(Redis::new(RedisOptions::from_url(&url.parse()?)?)).await
}

fn with_tls(server: &server::Redis, files: TlsFiles) -> Redis {
    Redis::new(RedisOptions::new(server.address()).with_tls(files))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_both_directions() {
    let certificates = Certificates::new().unwrap();
    let path = |name: &str| certificates.path(name).display().to_string();
    let server = server::Redis::start_tls(certificates.of("server")).await.unwrap();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let url = format!("rediss://{}?ca={ca}&cert={cert}&key={key}", server.address());
    let locks = connect(&url).await.unwrap();
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tls_refuses_is_told_with_server_and_reason() {
    let certificates = Certificates::new().unwrap();
    for (certificate, cases) in REFUSED {
        let server = server::Redis::start_tls(certificates.of(certificate)).await.unwrap();
        for (authority, ours, reason) in cases {
            is_refused(with_tls(&server, certificates.files(authority, *ours)), server.address(), reason)
                .await;
        }
    }
}

/// The client library does not tell it of these.
#[tokio::test(flavor = "multi_thread")]
async fn what_tls_refuses_of_sentinels_and_nodes_is_told_as_well() {
    let certificates = Certificates::new().unwrap();
    let server = server::Redis::start_tls(certificates.of("server")).await.unwrap();
    for options in
        [RedisOptions::sentinel([server.address()], "main"), RedisOptions::cluster([server.address()])]
    {
        let options = options.with_tls(certificates.files("other-ca", Some("client")));
        is_refused(Redis::new(options), server.address(), "UnknownIssuer").await;
    }
}

/// This machine does not trust the authority of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_the_authorities_of_the_machine_count() {
    let certificates = Certificates::new().unwrap();
    let server = server::Redis::start_tls(certificates.of("server")).await.unwrap();
    is_refused(with_tls(&server, TlsFiles::new()), server.address(), "UnknownIssuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_is_used_by_the_next_session() {
    let certificates = Certificates::new().unwrap();
    let server = server::Redis::start_tls(certificates.of("server")).await.unwrap();
    let backend = with_tls(&server, certificates.files("ca", Some("stranger")));
    counts_when_renewed(&certificates, backend).await;
}
