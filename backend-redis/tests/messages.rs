//! What a session believes of the messages that it gets, and what it does when it gets none.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use backend_redis::RedisOptions;
use bed::*;
use conformance::deadline::{eventually, within};
use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, FencingToken, Removed, Revision};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An entry that waits, or holds, and how to speak to its session.
struct Listener {
    session: Session,
    channel: String,
    entry: Entry,
    token: FencingToken,
}

impl Listener {
    /// Of a session that listens already: what it hears first is a reason to look for everybody.
    async fn new(bed: &Bed, options: RedisOptions) -> Self {
        let (session, entry) = (open(options).await, entry(EntryKind::Exclusive));
        let first = bed::entry(EntryKind::Permits { permits: 1, limit: 1 });
        let (lock, id) = (key(first.kind.family()), &first.id);
        enqueue(&session, &first).await;
        let members = bed.members("fairlock:{semaphore:l}:queue").await;
        let record = members.iter().find(|member| member.contains(" sem-1-1 ")).unwrap();
        let channel = format!("fairlock:session:{}", record.split(' ').nth(5).unwrap());
        bed.cli(&["publish", &channel, id.as_str()]).await;
        let own = std::slice::from_ref(id);
        within("a message", session.watch(&lock, id, own, Revision::default())).await.unwrap();
        session.remove(&lock, id).await.unwrap();
        let token = enqueue(&session, &entry).await.token;
        Self { session, channel, entry, token }
    }

    /// Somebody says something on its channel.
    async fn is_told(&self, bed: &Bed, what: &str) {
        let what = what.replace("ID", self.entry.id.as_str()).replace("TOKEN", &self.token.to_string());
        assert_eq!(bed.cli(&["publish", &self.channel, &what]).await, "1");
    }

    /// What its next watch returns.
    async fn watch(&self, ids: &[EntryId]) -> Option<Standing> {
        let lock = lock();
        let watch = self.session.watch(&lock, &self.entry.id, ids, Revision::default());
        within("a message", watch).await.unwrap()
    }

    async fn look(&self) -> Standing {
        self.session.look(&lock(), &self.entry.id).await.unwrap()
    }
}

fn options(bed: &Bed) -> RedisOptions {
    RedisOptions::new(bed.server.address()).with_session_timeout(MINUTES)
}

/// One entry holds, and another one waits for it.
async fn contended(bed: &Bed) -> (Session, Entry, Listener) {
    let (holds, first) = (open(options(bed)).await, entry(EntryKind::Exclusive));
    enqueue(&holds, &first).await;
    (holds, first, Listener::new(bed, options(bed)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_need_not_ask() {
    let bed = Bed::new().await;
    let (holds, first, waits) = contended(&bed).await;
    assert_eq!(holds.remove(&lock(), &first.id).await.unwrap(), Removed::Now);
    assert_eq!(waits.watch(&[first.id]).await, Some(Standing::Holds));
    assert_eq!(waits.look().await, Standing::Holds);
}

/// Whoever comes finds out that those directly ahead and at the head are dead, and that it is the turn of somebody between them.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_behind_the_dead_is_told_by_who_comes() {
    let bed = Bed::new().await;
    let (dying, first, waits) = contended(&bed).await;
    let last = entry(EntryKind::Exclusive);
    enqueue(&dying, &last).await;
    bed.die(QUEUE, &[&first.id, &last.id]).await;
    let Standing::Waits { wake, .. } =
        enqueue(&bed.session().await, &entry(EntryKind::Exclusive)).await.standing
    else {
        panic!("it is not its turn");
    };
    assert_eq!(wake, std::slice::from_ref(&waits.entry.id));
    assert_eq!(waits.watch(&[first.id]).await, Some(Standing::Holds));
}

/// Whatever is not what the scripts say is a reason to look, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_not_believed() {
    let bed = Bed::new().await;
    let (_holds, first, waits) = contended(&bed).await;
    let ahead = std::slice::from_ref(&first.id);
    for forged in [
        "ID",
        "ID:",
        "ID:TOKEN",
        "ID:TOKEN:",
        "ID:TOKEN:x",
        "ID:TOKEN:0:0",
        "ID:0:0",
        "ID:-1:0",
        "ID:1:0",
        // No room is left for it.
        "ID:TOKEN:1",
        "ID:TOKEN:4294967295",
        // The last word counts.
        "ID:TOKEN:0 ID",
    ] {
        waits.is_told(&bed, forged).await;
        assert_eq!(waits.watch(ahead).await, None, "{forged}");
        assert!(matches!(waits.look().await, Standing::Waits { .. }));
    }
    waits.is_told(&bed, "ID:TOKEN:0").await;
    assert_eq!(waits.watch(ahead).await, Some(Standing::Holds), "what a script would say");
}

/// A message may come late, and the entry may have been lost meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_an_entry_that_is_gone_is_not_believed() {
    let bed = Bed::new().await;
    let (holds, first) = (open(options(&bed)).await, entry(EntryKind::Exclusive));
    enqueue(&holds, &first).await;
    let late = Listener::new(&bed, options(&bed).with_session_timeout(SHORT)).await;
    let renewed = bed.calls("pexpire").await;
    bed.cli(&["del", QUEUE]).await;
    // The mark of the session is renewed last. One round may have been under way.
    eventually("a renewal finds that out", || async { bed.calls("pexpire").await > renewed + 1 }).await;
    late.is_told(&bed, "ID:TOKEN:0").await;
    assert_eq!(late.watch(&[first.id]).await, None);
    assert_eq!(late.look().await, Standing::Absent);
}

/// That it held was told before it was removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_an_entry_that_holds_looks() {
    let bed = Bed::new().await;
    let holds = Listener::new(&bed, options(&bed)).await;
    let own = [holds.entry.id.clone()];
    holds.is_told(&bed, "ID:TOKEN:0").await;
    assert_eq!(holds.watch(&own).await, None);
    bed.die(QUEUE, &[&holds.entry.id]).await;
    holds.is_told(&bed, "ID:TOKEN:0").await;
    bed.session().await.list(&lock()).await.unwrap();
    assert_eq!(holds.watch(&own).await, None);
    assert_eq!(holds.look().await, Standing::Absent);
}

/// Nobody may say anything any more: a waiter looks when the entry directly ahead may be dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_of_which_nothing_is_said_is_found_out() {
    let bed = Bed::new().await;
    bed.cli(&["acl", "setuser", "mute", "on", ">secret", "allkeys", "allchannels", "+@all"]).await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 1 }] {
        let short = options(&bed).with_session_timeout(SHORT);
        let (holds, first) = (
            open(short.with_credentials("mute", "secret")).await,
            match kind {
                EntryKind::Shared => entry(EntryKind::Exclusive),
                kind => entry(kind),
            },
        );
        let (waits, lock) = (open(options(&bed)).await, key(kind.family()));
        enqueue(&holds, &first).await;
        let second = entry(kind);
        enqueue(&waits, &second).await;
        let waiting: JoinHandle<u64> = tokio::spawn({
            let (waits, lock, id) = (waits.clone(), lock.clone(), second.id.clone());
            async move {
                let mut looks = 0;
                while let Standing::Waits { wake, seen } = waits.look(&lock, &id).await.unwrap() {
                    looks += 1;
                    let told = waits.watch(&lock, &id, &wake, seen).await.unwrap();
                    assert_eq!(told, None, "nobody can have told");
                }
                looks
            }
        });
        bed.cli(&["acl", "setuser", "mute", "resetchannels"]).await;
        assert_eq!(holds.remove(&lock, &first.id).await.unwrap(), Removed::Now);
        let looks = within("the hand-over", waiting).await.unwrap();
        assert!(looks < 5, "{looks} looks for one hand-over");
        bed.cli(&["acl", "setuser", "mute", "allchannels"]).await;
        for session in [holds, waits] {
            session.close().await.unwrap();
        }
    }
}

/// A way to the server on which subscriptions can fall silent, as when something on the way has forgotten them.
struct Way {
    address: SocketAddr,
    /// How often those that there were did.
    silenced: Arc<AtomicUsize>,
}

impl Way {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self { address: listener.local_addr().unwrap(), silenced: Arc::default() };
        let (server, silenced) = (server.to_owned(), way.silenced.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, TcpStream::connect(&server).await.unwrap(), silenced.clone()));
            }
        });
        way
    }

    fn silence(&self) {
        self.silenced.fetch_add(1, Ordering::SeqCst);
    }
}

/// One connection, until either side ends it.
async fn pass(mut client: TcpStream, mut server: TcpStream, silenced: Arc<AtomicUsize>) {
    let (born, subscribes) = (silenced.load(Ordering::SeqCst), AtomicBool::new(false));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.split(), server.split());
    let requests = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            let asks = bytes[..read].windows(9).any(|word| word == b"SUBSCRIBE");
            subscribes.fetch_or(asks, Ordering::SeqCst);
            to_server.write_all(&bytes[..read]).await.unwrap_or_default();
        }
    };
    let replies = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if !subscribes.load(Ordering::SeqCst) || born == silenced.load(Ordering::SeqCst) {
                to_client.write_all(&bytes[..read]).await.unwrap_or_default();
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = replies => {}
    }
}

/// Nothing is said on most of them for hours, so that this alone tells nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_through_which_nothing_comes_any_more_is_made_anew() {
    let bed = Bed::new().await;
    let way = Way::to(bed.server.address()).await;
    let (holds, first) = (open(options(&bed)).await, entry(EntryKind::Exclusive));
    enqueue(&holds, &first).await;
    let through = RedisOptions::new(way.address.to_string()).with_session_timeout(MINUTES);
    let waits = Listener::new(&bed, through.with_connect_timeout(Duration::from_secs(1))).await;
    way.silence();
    assert_eq!(holds.remove(&lock(), &first.id).await.unwrap(), Removed::Now);
    assert_eq!(waits.watch(&[first.id]).await, None, "it is told nothing, and looks");
    assert_eq!(waits.look().await, Standing::Holds);
}
