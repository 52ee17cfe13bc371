//! Users and passwords, of servers and of sentinels, and passwords that change.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use conformance::deadline::within;
use conformance::proxy::Proxy;
use conformance::server;
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, ErrorKind, LockService, QueueBackend, Released};

const SHORT: Duration = Duration::from_secs(3);

async fn connect(url: &str) -> lockcore::Result<QueueLocks> {
    QueueLocks::connect(Redis::new(RedisOptions::from_url(&url.parse()?)?)).await
}

/// Lets this user in with this password, and with no other.
async fn let_in(server: &server::Redis, user: &str, password: &str) {
    let password = format!(">{password}");
    server.cli(&["acl", "setuser", user, "on", "resetpass", &password, "~*", "&*", "+@all"]).await.unwrap();
}

/// The session ends with the connection, because the old password opens no other; the next one is opened with the new password.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_rotated_opens_the_next_session() {
    let server = server::Redis::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "s3cr3t-old\n").unwrap();
    let_in(&server, "app", "s3cr3t-old").await;
    let url =
        format!("redis://app@{}?password_file={}&session_timeout=3s", proxy.address(), file.path().display());
    let locks = connect(&url).await.unwrap();
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    proxy.cut();
    within("the loss", guard.lost()).await;
    let_in(&server, "app", "s3cr3t-new").await;
    proxy.heal();
    let refused = within("a refusal", locks.exclusive("l").unwrap().acquire()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
    fs::write(file.path(), "s3cr3t-new\n").unwrap();
    let guard = within("the next session", locks.exclusive("l").unwrap().acquire()).await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let shown = format!("{locks:?} {refused:?}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_cannot_be_read_is_told_with_its_place() {
    let server = server::Redis::start().await.unwrap();
    for (option, place) in
        [("password_file=/no/such/file", "/no/such/file"), ("password_env=NO_SUCH", "NO_SUCH")]
    {
        let url = format!("redis://app@{}?{option}", server.address());
        let error = connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_have_credentials_of_their_own() {
    let servers = server::RedisSentinel::start().await.unwrap();
    for node in servers.nodes() {
        let_in(node, "app", "of-servers").await;
    }
    let_in(servers.sentinel(), "guide", "of-sentinels").await;
    servers.sentinel().cli(&["acl", "setuser", "default", "off"]).await.unwrap();
    let options = |user: &str, password: &str| {
        RedisOptions::sentinel([servers.address()], servers.name())
            .with_session_timeout(SHORT)
            .with_credentials("app", "of-servers")
            .with_sentinel_credentials(user, password)
    };
    let session = Redis::new(options("guide", "of-sentinels")).open_session().await.unwrap();
    let users = servers.nodes()[0].cli(&["client", "list"]).await.unwrap();
    assert!(users.contains("user=app"), "{users}");
    session.close().await.unwrap();
    for wrong in [
        options("guide", "of-servers"),
        options("app", "of-servers"),
        options("guide", "of-sentinels").with_credentials("app", "of-sentinels"),
    ] {
        let error = within("a refusal", Redis::new(wrong).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("of-servers") && !shown.contains("of-sentinels"), "{shown}");
    }
}
