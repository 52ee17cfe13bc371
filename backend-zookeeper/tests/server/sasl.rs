//! Users whom the server knows by SASL.

use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
use conformance::server;
use lockcore::queue::Standing;
use lockcore::{ErrorKind, LockUrl, QueueBackend, Secret};

use crate::bed::{enqueue, exclusive, lock, open, within};

fn options(server: &server::ZooKeeper, password: &str) -> ZooKeeperOptions {
    let url = format!("zookeeper://app:{password}@{}?sasl=digest-md5", server.address());
    ZooKeeperOptions::from_url(&url.parse::<LockUrl>().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_server_locks_and_keeps_others_out() {
    let server = server::ZooKeeper::start_sasl("app", "secret").await.unwrap();
    let session = open(options(&server, "secret")).await;
    assert_eq!(enqueue(&session, &lock("a"), &exclusive()).await.standing, Standing::Holds);
    let second = open(options(&server, "secret")).await;
    assert!(matches!(enqueue(&second, &lock("a"), &exclusive()).await.standing, Standing::Waits { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_read_again_for_each_session() {
    let server = server::ZooKeeper::start_sasl("app", "secret").await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "guess").unwrap();
    let options = ZooKeeperOptions::new([server.address()]).with_sasl("app", Secret::in_file(file.path()));
    let backend = ZooKeeper::new(options.unwrap());
    let error = within("a refusal", backend.open_session()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    std::fs::write(file.path(), "secret").unwrap();
    backend.open_session().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_server_does_not_know_is_told_so() {
    let server = server::ZooKeeper::start_sasl("app", "secret").await.unwrap();
    for options in [options(&server, "guess"), ZooKeeperOptions::new([server.address()])] {
        let error = within("a refusal", ZooKeeper::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(
            error.to_string().contains(server.address()) && !format!("{error:?}").contains("guess"),
            "{error:?}"
        );
    }
}
