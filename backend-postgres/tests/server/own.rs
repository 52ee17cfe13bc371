//! What a session says to itself.

use std::time::Duration;

use conformance::server::Postgres;
use lockcore::DistributedLockExt;

use crate::bed::locks;

/// The one behind is told nothing by the server, and may be asked for before or after the one ahead has left.
#[tokio::test]
async fn whoever_waits_behind_its_own_session_is_told_at_once() {
    let server = Postgres::start().await.unwrap();
    let alice = locks(&server).await;
    let lock = alice.exclusive("a").unwrap();
    let again = async {
        for _ in 0..200 {
            drop(lock.acquire().await.unwrap());
        }
    };
    // One that is not told looks after five seconds.
    tokio::time::timeout(Duration::from_secs(60), again).await.expect("nobody is told");
}
