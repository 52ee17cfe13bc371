//! Encrypted connections, passwords, and certificates.

use std::fs;
use std::path::Path;

use backend_postgres::{PostgresOptions, PostgresTls, TlsMode};
use conformance::server::Postgres;
use lockcore::{DistributedLockExt, ErrorKind};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::bed::{as_user, connect, until_sql};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(file: &Path) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(file, authority.pem()).unwrap();
    authority
}

/// A certificate for this host, or this user.
fn certificate(authority: &Authority, name: &str, file: &Path, key_file: &Path) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    fs::write(file, params.signed_by(&key, authority).unwrap().pem()).unwrap();
    fs::write(key_file, key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_server_proves_what_the_mode_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let ours = authority(&path("ca.pem"));
    authority(&path("other.pem"));
    // The certificate is for another name than that by which we call the server.
    certificate(&ours, "db.example", &path("server.pem"), &path("server.key"));
    certificate(&ours, "app", &path("app.pem"), &path("app.key"));
    let server =
        Postgres::start_tls(&path("server.pem"), &path("server.key"), &path("ca.pem")).await.unwrap();
    let options = || as_user(PostgresOptions::new([server.address()]), "postgres");
    for (mode, authority, right) in [
        (TlsMode::Disable, None, true),
        (TlsMode::Prefer, None, true),
        (TlsMode::Prefer, Some("other.pem"), true),
        (TlsMode::Require, None, true),
        (TlsMode::Require, Some("ca.pem"), true),
        (TlsMode::Require, Some("other.pem"), false),
        (TlsMode::VerifyCa, Some("ca.pem"), true),
        (TlsMode::VerifyCa, Some("other.pem"), false),
        (TlsMode::VerifyCa, None, false),
        (TlsMode::VerifyFull, Some("ca.pem"), false),
    ] {
        let tls = PostgresTls::new(mode);
        let tls = authority.map_or(tls.clone(), |file| tls.with_authority(path(file)));
        let connected = connect(options().with_tls(tls)).await;
        assert_eq!(connected.is_ok(), right, "{mode:?} {authority:?}: {connected:?}");
        assert!(
            connected.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::InvalidConfig),
            "{connected:?}"
        );
        if connected.is_ok() {
            let ssl = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'fairlock%'";
            until_sql(&server, ssl, if mode == TlsMode::Disable { "f" } else { "t" }).await;
        }
        drop(connected);
        until_sql(
            &server,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'",
            "0",
        )
        .await;
    }
    // With its name, and ours in a certificate.
    certificate(&ours, "localhost", &path("server.pem"), &path("server.key"));
    let server_of_that_name =
        Postgres::start_tls(&path("server.pem"), &path("server.key"), &path("ca.pem")).await.unwrap();
    let port = server_of_that_name.address().rsplit_once(':').unwrap().1;
    server_of_that_name.sql("CREATE ROLE app LOGIN SUPERUSER").await.unwrap();
    server_of_that_name.let_in(&["hostssl all app 127.0.0.1/32 cert"]).await.unwrap();
    let full = PostgresTls::new(TlsMode::VerifyFull).with_authority(path("ca.pem"));
    let app = || as_user(PostgresOptions::new([format!("localhost:{port}")]), "app");
    let error = connect(app().with_tls(full.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let full = full.with_certificate(path("app.pem"), path("app.key"));
    let locks = connect(app().with_tls(full)).await.unwrap();
    crate::bed::give_back(locks.exclusive("a").unwrap().acquire().await.unwrap()).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_shown_nowhere() {
    let server = Postgres::start().await.unwrap();
    server
        .sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN SUPERUSER PASSWORD 'secret'")
        .await
        .unwrap();
    server.let_in(&["host all app 127.0.0.1/32 scram-sha-256"]).await.unwrap();
    let options = |password: Option<&str>| {
        let options = PostgresOptions::new([server.address()]).with_database("postgres");
        options.with_user("app", password.map(str::to_owned))
    };
    for wrong in [Some("sesame"), None] {
        let error = connect(options(wrong)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("sesame"), "{text}");
        assert!(!error.is_retryable(), "{text}");
    }
    let locks = connect(options(Some("secret"))).await.unwrap();
    assert!(!format!("{locks:?}").contains("secret"));
    drop(locks.exclusive("a").unwrap().acquire().await.unwrap());
    let nobody = as_user(PostgresOptions::new([server.address()]), "postgres").with_database("nowhere");
    assert_eq!(connect(nobody).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
}
