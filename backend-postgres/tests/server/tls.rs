//! Encrypted connections, passwords, and certificates.

use std::fs;

use backend_postgres::{PostgresOptions, PostgresTls, TlsMode};
use conformance::certificates::{Certificates, REFUSED};
use conformance::server::Postgres;
use lockcore::{DistributedLockExt, ErrorKind, Secret, TlsFiles};

use crate::bed::{as_user, connect, give_back, until_sql};

#[tokio::test]
async fn a_server_proves_what_the_mode_asks_for() {
    let certificates = Certificates::new().unwrap();
    // The certificate is for another name than that by which we call the server.
    let server = Postgres::start_tls(certificates.of("elsewhere")).await.unwrap();
    let options = || as_user(PostgresOptions::new([server.address()]), "postgres");
    for (mode, authority, right) in [
        (TlsMode::Disable, None, true),
        (TlsMode::Prefer, None, true),
        (TlsMode::Prefer, Some("other-ca"), true),
        (TlsMode::Require, None, true),
        (TlsMode::Require, Some("ca"), true),
        (TlsMode::Require, Some("other-ca"), false),
        (TlsMode::VerifyCa, Some("ca"), true),
        (TlsMode::VerifyCa, Some("other-ca"), false),
        (TlsMode::VerifyCa, None, false),
        (TlsMode::VerifyFull, Some("ca"), false),
    ] {
        let files = authority.map_or(TlsFiles::new(), |name| certificates.files(name, None));
        let connected = connect(options().with_tls(PostgresTls::new(mode, files))).await;
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
}

#[tokio::test]
async fn what_tls_refuses_is_told_with_server_and_reason() {
    let certificates = Certificates::new().unwrap();
    for (certificate, cases) in REFUSED {
        let server = Postgres::start_tls(certificates.of(certificate)).await.unwrap();
        server.sql("CREATE ROLE app LOGIN SUPERUSER").await.unwrap();
        server.let_in(&["hostssl all app 127.0.0.1/32 cert"]).await.unwrap();
        let app = || as_user(PostgresOptions::new([server.address()]), "app");
        for (authority, ours, reason) in cases {
            let tls = PostgresTls::new(TlsMode::VerifyFull, certificates.files(authority, *ours));
            let error = connect(app().with_tls(tls)).await.unwrap_err();
            // Whether a certificate is needed, PostgreSQL decides by the user.
            let (kind, reason) = match ours {
                None => (ErrorKind::PermissionDenied, "credentials are refused"),
                Some(_) => (ErrorKind::InvalidConfig, *reason),
            };
            let text = error.to_string();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(
                text.contains(server.address()) && text.contains(reason),
                "{certificate} {authority} {ours:?}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_by_the_next_session() {
    let certificates = Certificates::new().unwrap();
    let server = Postgres::start_tls(certificates.of("server")).await.unwrap();
    server.sql("CREATE ROLE app LOGIN SUPERUSER").await.unwrap();
    server.let_in(&["hostssl all app 127.0.0.1/32 cert"]).await.unwrap();
    let tls = PostgresTls::new(TlsMode::VerifyFull, certificates.files("ca", Some("stranger")));
    let options = as_user(PostgresOptions::new([server.address()]), "app").with_tls(tls);
    assert_eq!(connect(options.clone()).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
    certificates.replace("stranger", "client").unwrap();
    let locks = connect(options).await.unwrap();
    give_back(locks.exclusive("a").unwrap().acquire().await.unwrap()).await;
}

#[tokio::test]
async fn a_password_that_is_rotated_opens_the_next_connection() {
    let server = Postgres::start().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "first\n").unwrap();
    server.sql("CREATE ROLE app LOGIN SUPERUSER PASSWORD 'first'").await.unwrap();
    server.let_in(&["host all app 127.0.0.1/32 scram-sha-256"]).await.unwrap();
    let options = as_user(PostgresOptions::new([server.address()]), "app");
    let options = options.with_user("app", Some(Secret::in_file(file.path())));
    drop(connect(options.clone()).await.unwrap());
    server.sql("ALTER ROLE app PASSWORD 'second'").await.unwrap();
    assert_eq!(connect(options.clone()).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    fs::write(file.path(), "second\n").unwrap();
    let locks = connect(options).await.unwrap();
    give_back(locks.exclusive("a").unwrap().acquire().await.unwrap()).await;
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
        options.with_user("app", password.map(Into::into))
    };
    for wrong in [Some("sesame"), None] {
        let error = connect(options(wrong)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("sesame") && text.contains(server.address()), "{text}");
        assert!(!error.is_retryable(), "{text}");
    }
    let locks = connect(options(Some("secret"))).await.unwrap();
    assert!(!format!("{locks:?}").contains("secret"));
    drop(locks.exclusive("a").unwrap().acquire().await.unwrap());
    let nobody = as_user(PostgresOptions::new([server.address()]), "postgres").with_database("nowhere");
    assert_eq!(connect(nobody).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
}
