//! Who may touch what.

use lockcore::queue::Standing;
use lockcore::{ErrorKind, Removed};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error as ClientError, Permission};

use crate::bed::{Bed, PERSISTENT, eventually, exclusive, lock, open, within};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_authenticates_keeps_others_out_of_their_locks_and_of_nothing_else() {
    let bed = Bed::new().await;
    let options = bed.options().with_root("/team").unwrap();
    let (lock, other) = (lock("a"), lock("b"));
    let ours = options.clone().with_auth("digest", "me:secret");
    let session = open(ours.clone()).await;
    let enqueued = session.enqueue(&lock, &exclusive()).await.unwrap();
    assert_eq!(enqueued.standing, Standing::Holds);
    let path = "/team/_zklocking/a";
    assert_eq!(bed.admin.list_children(path).await, Err(ClientError::NoAuth));
    let theirs = open(options.with_auth("digest", "you:guess")).await;
    let error = theirs.enqueue(&lock, &exclusive()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(path) && error.to_string().contains(bed.server.address()), "{error}");
    let entry = exclusive();
    assert_eq!(theirs.enqueue(&other, &entry).await.unwrap().standing, Standing::Holds);
    assert_eq!(theirs.names().await.unwrap().len(), 2);
    assert_eq!(theirs.remove(&other, &entry.id).await.unwrap(), Removed::Now);
    let again = open(ours).await.enqueue(&lock, &exclusive()).await.unwrap();
    assert!(matches!(again.standing, Standing::Waits { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_may_not_be_read_is_waited_for_and_described() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let (lock, secret, entry) = (lock("a"), exclusive(), exclusive());
    let theirs = open(bed.options().with_auth("digest", "me:secret")).await;
    let token = theirs.enqueue(&lock, &secret).await.unwrap().token;
    let session = bed.session().await;
    let enqueued = session.enqueue(&lock, &entry).await.unwrap();
    let Standing::Waits { wake, seen } = enqueued.standing else { panic!("{enqueued:?}") };
    let described = session.describe(&lock).await.unwrap();
    let shown: Vec<_> = described.iter().map(|entry| (entry.token, entry.label.as_str())).collect();
    assert_eq!(shown, [(token, ""), (enqueued.token, "quirks é")]);
    let watch = session.watch(&lock, &entry.id, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await > 0 }).await;
        assert_eq!(theirs.remove(&lock, &secret.id).await.unwrap(), Removed::Now);
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_may_not_be_read_does_no_harm() {
    let bed = Bed::new().await;
    let closed = [Acl::new(Permission::CREATE, AuthId::anyone())];
    bed.admin.set_acl("/", &closed, None).await.unwrap();
    assert_eq!(bed.admin.list_children("/").await, Err(ClientError::NoAuth));
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_refused_needs_no_removal() {
    let bed = Bed::new().await;
    let keeper = Client::connector().with_auth("digest", b"k:k").connect(bed.server.address()).await.unwrap();
    bed.admin.create("/_zklocking", b"", &PERSISTENT).await.unwrap();
    let closed = CreateMode::Persistent.with_acls(Acls::creator_all());
    keeper.create("/_zklocking/a", b"", &closed).await.unwrap();
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    let error = session.enqueue(&lock, &entry).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::PermissionDenied, false));
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
}
