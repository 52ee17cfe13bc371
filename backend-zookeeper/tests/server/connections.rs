//! Lost replies, lost connections, servers that come and go.

use std::net::Ipv6Addr;
use std::time::Duration;

use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
use conformance::proxy::Proxy;
use futures::FutureExt;
use lockcore::queue::Standing;
use lockcore::{Effect, ErrorKind, QueueBackend, Removed, Revision};
use tokio::net::TcpListener;

use crate::bed::{
    Bed, PERSISTENT, doubts, enqueue, eventually, exclusive, lives, lock, open, through, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_reply_was_lost_is_adopted() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    proxy.mute();
    let lost = async {
        eventually("an entry", || async { !bed.children("/_zklocking/a").await.is_empty() }).await;
        proxy.heal();
    };
    let (first, ()) =
        within("the first attempt", async { tokio::join!(session.enqueue(&lock, &entry), lost) }).await;
    let error = first.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown), "{error:?}");
    let behind = bed.session().await;
    assert!(matches!(enqueue(&behind, &lock, &exclusive()).await.standing, Standing::Waits { .. }));
    let enqueued = enqueue(&session, &lock, &entry).await;
    assert_eq!(enqueued.standing, Standing::Holds);
    assert_eq!(enqueued.token, bed.token("/_zklocking/a/ex0000000000").await);
    assert_eq!(bed.children("/_zklocking/a").await.len(), 2);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_given_up_unheard_is_removed() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    proxy.mute();
    assert!(session.enqueue(&lock, &entry).now_or_never().is_none());
    eventually("an entry", || async { !bed.children("/_zklocking/a").await.is_empty() }).await;
    proxy.heal();
    let removed = async {
        loop {
            match session.remove(&lock, &entry.id).await {
                Ok(removed) => return removed,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    };
    assert_eq!(within("removal", removed).await, Removed::Now);
    assert_eq!(bed.children("/_zklocking/a").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_session_is_not_adopted() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    proxy.hold();
    assert!(session.enqueue(&lock, &entry).now_or_never().is_none());
    eventually("a request", || async { proxy.held() > 0 }).await;
    let theirs = bed.session().await;
    assert_eq!(theirs.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
    proxy.abandon();
    let ours = enqueue(&session, &lock, &entry).await;
    proxy.deliver();
    let Standing::Waits { wake, seen } = ours.standing else { panic!("{ours:?}") };
    let own = "ex0000000001";
    assert_eq!(ours.token, bed.token(&format!("/_zklocking/a/{own}")).await);
    let watch = session.watch(&lock, &entry.id, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await > 0 }).await;
        assert_eq!(theirs.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(bed.children("/_zklocking/a").await, [own]);
}

/// Otherwise the second of two requests waits for the answer to the first.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn small_requests_are_sent_at_once_and_the_sockets_of_others_are_left_alone() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let theirs = std::net::TcpStream::connect(proxy.address()).unwrap();
    let session = through(&proxy).await;
    assert_eq!(sockets_that_send_at_once(&proxy), [false, true]);
    drop(theirs);
    proxy.cut();
    doubts(&session).await;
    proxy.heal();
    lives(&session).await;
    assert_eq!(sockets_that_send_at_once(&proxy), [true]);
}

/// Which of the sockets that are connected to the proxy do not wait for more to send.
#[cfg(target_os = "linux")]
fn sockets_that_send_at_once(proxy: &Proxy) -> Vec<bool> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = numbers.filter_map(|descriptor| descriptor.file_name().to_str()?.parse().ok());
    let descriptors =
        numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let sockets = descriptors.map(std::net::TcpStream::from);
    let connected = sockets.filter(|socket| socket.peer_addr().is_ok_and(|peer| peer == proxy.address()));
    let mut found: Vec<bool> = connected.map(|socket| socket.nodelay().unwrap()).collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_out_of_reach_are_an_error_that_names_them() {
    let bed = Bed::new().await;
    let silent = bed.proxy().await;
    silent.hold();
    let closed = bed.proxy().await;
    closed.cut();
    for proxy in [&silent, &closed] {
        let address = proxy.address().to_string();
        let options = ZooKeeperOptions::new([&address]).with_connect_timeout(Duration::from_millis(300));
        let error = within("the connect timeout", ZooKeeper::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains(&address) && error.to_string().contains("300ms"), "{error}");
    }
    // The library tries them in random order.
    for _ in 0..4 {
        let servers =
            [silent.address().to_string(), closed.address().to_string(), bed.server.address().to_owned()];
        let options = ZooKeeperOptions::new(servers).with_connect_timeout(Duration::from_secs(3));
        open(options).await.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_of_servers_is_told_at_once() {
    for servers in [&[][..], &[""], &["h:port"], &["127.0.0.1:1", "h:0"]] {
        let error = ZooKeeper::new(ZooKeeperOptions::new(servers)).open_session().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{servers:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_keeps_the_lock() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    let token = session.enqueue(&lock, &entry).await.unwrap().token;
    bed.server.kill().unwrap();
    doubts(&session).await;
    bed.server.restart().await.unwrap();
    lives(&session).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().token, token);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_is_over_at_once_even_for_a_pending_watch() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &entry).await.unwrap();
    let ids = [entry.id.clone()];
    let watch = session.watch(&lock, &entry.id, &ids, Revision(0));
    let close = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        session.close().await.unwrap();
    };
    let _ = within("the end of both", async { tokio::join!(watch, close) }).await;
    assert_eq!(bed.children("/_zklocking/a").await, Vec::<String>::new());
    assert_eq!(session.list(&lock).await.unwrap_err().kind(), ErrorKind::Closed);
    session.close().await.unwrap();
}

/// A server may be restarted with other limits. A leader begins with what was granted first, so that more, granted
/// later, does not count.
#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_timeout_that_was_ever_granted_counts() {
    let bed = Bed::new().await;
    let restart = async |limit| {
        bed.server.kill().unwrap();
        bed.server.configure(limit).unwrap();
        bed.server.restart().await.unwrap();
    };
    restart("maxSessionTimeout=60000").await;
    let session = open(bed.options().with_session_timeout(Duration::from_secs(60))).await;
    assert!(session.lease().remaining().unwrap() > Duration::from_secs(16));
    for limit in ["maxSessionTimeout=20000", "maxSessionTimeout=60000"] {
        restart(limit).await;
        eventually("less time", || async { session.lease().remaining().unwrap() <= Duration::from_secs(16) })
            .await;
        lives(&session).await;
        assert!(session.lease().remaining().unwrap() <= Duration::from_secs(16), "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_tried_at_a_steady_pace() {
    let Bed { server, .. } = Bed::new().await;
    // The server grants ten seconds: they count, and not what was asked for.
    let options = ZooKeeperOptions::new([server.address()]);
    let session = open(options.with_session_timeout(Duration::from_secs(100))).await;
    server.kill().unwrap();
    let listener = TcpListener::bind(server.address()).await.unwrap();
    for _ in 0..9 {
        let tried = within("a try", listener.accept()).await;
        drop(tried.unwrap());
    }
    // If each pause were twice as long as the one before, the session would be lost by now.
    assert_eq!(session.lease().loss(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lost_connections_lose_nothing() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock("a"));
    let (first, second) = (exclusive(), exclusive());
    enqueue(&session, &lock, &first).await;
    let Standing::Waits { wake, seen } = enqueue(&session, &lock, &second).await.standing else {
        panic!("two holders")
    };
    let watch = session.watch(&lock, &second.id, &wake, seen);
    let cuts = async {
        for _ in 0..20 {
            eventually("a watch", || async { bed.watches().await > 0 }).await;
            proxy.cut();
            doubts(&session).await;
            proxy.heal();
            lives(&session).await;
        }
        assert_eq!(session.remove(&lock, &first.id).await.unwrap(), Removed::Now);
    };
    within("the watch fires", async { tokio::join!(watch, cuts).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &second.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_closed_without_a_connection_is_ended_as_soon_as_there_is_one() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock("a"));
    enqueue(&session, &lock, &exclusive()).await;
    proxy.cut();
    doubts(&session).await;
    let close = session.close();
    let heal = async { proxy.heal() };
    within("the end", async { tokio::join!(close, heal).0.unwrap() }).await;
    assert_eq!(bed.children("/_zklocking/a").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_ended_says_so() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let options = ZooKeeperOptions::new([proxy.address().to_string()]);
    let session = open(options.with_connect_timeout(Duration::from_millis(500))).await;
    proxy.cut();
    doubts(&session).await;
    let error = within("the attempt", session.close()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_may_have_ipv6_addresses() {
    let bed = Bed::new().await;
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), bed.server.address()).await.unwrap();
    let url = format!("zookeeper://{},[::1]:1", proxy.address()).parse().unwrap();
    let (session, lock, entry) =
        (open(ZooKeeperOptions::from_url(&url).unwrap()).await, lock("a"), exclusive());
    assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}
