//! How long scripts keep the server, with very many entries, and what very many locks cost at rest. Run it with
//! `cargo test -p fairlock-backend-redis --test size --release -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, and a panic is how it fails")]

mod bed;

use std::time::{Duration, Instant};

use backend_redis::RedisOptions;
use bed::{Bed, Session, entry, key, open};
use futures::stream::{self, StreamExt};
use lockcore::{Entry, EntryKind, Family, LockKey, LockName};

const ENTRIES: usize = 10_000;

async fn enqueue_all(
    session: &Session,
    lock: &LockKey,
    kinds: impl Iterator<Item = EntryKind> + Send,
) -> Vec<Entry> {
    let entries: Vec<Entry> = kinds.map(entry).collect();
    for entry in &entries {
        session.enqueue(lock, entry).await.unwrap();
    }
    entries
}

/// The longest scripts since the last call, in microseconds, as `SLOWLOG` has them: those above 200. Where others use the processor too, the
/// first of them tell of that.
async fn longest(bed: &Bed, what: &str) {
    let log = bed.cli(&["--json", "slowlog", "get", "-1"]).await;
    let log: Vec<(u64, u64, u64, Vec<String>, String, String)> = serde_json::from_str(&log).unwrap();
    let scripts = log.iter().filter(|(.., command, _, _)| command[0].starts_with("EVAL"));
    let mut longest: Vec<u64> = scripts.map(|(_, _, micros, ..)| *micros).collect();
    longest.sort_unstable_by(|a, b| b.cmp(a));
    longest.truncate(12);
    bed.cli(&["slowlog", "reset"]).await;
    println!("{what:60} {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn the_longest_scripts_with_10_000_entries() {
    let bed = Bed::new().await;
    bed.cli(&["config", "set", "slowlog-log-slower-than", "200"]).await;
    bed.cli(&["config", "set", "slowlog-max-len", "100000"]).await;
    let limit = u32::try_from(ENTRIES).unwrap();
    let permit = EntryKind::Permits { permits: 1, limit };
    let all = EntryKind::Permits { permits: limit, limit };
    for (what, first, rest) in [
        ("10,000 wait for an exclusive lock", EntryKind::Exclusive, EntryKind::Exclusive),
        ("10,000 readers wait for a writer", EntryKind::Exclusive, EntryKind::Shared),
        ("10,000 permits wait for who has all", all, permit),
        ("10,000 permits are held", permit, permit),
    ] {
        let options = RedisOptions::new(bed.server.address()).with_session_timeout(Duration::from_secs(60));
        let (session, dying) = (open(options.clone()).await, open(options).await);
        let lock = key(first.family());
        let queue = format!("fairlock:{{{}:l}}:queue", lock.family);
        let head = enqueue_all(&session, &lock, [first].into_iter()).await;
        let entries = enqueue_all(&dying, &lock, (1..ENTRIES).map(|_| rest)).await;
        let last = enqueue_all(&session, &lock, [if first == permit { all } else { rest }].into_iter()).await;
        longest(&bed, &format!("{what}: they come")).await;
        session.list(&lock).await.unwrap();
        dying.look(&lock, &entries[entries.len() / 2].id).await.unwrap();
        longest(&bed, &format!("{what}: looks and lists")).await;
        session.remove(&lock, &head[0].id).await.unwrap();
        for entry in &entries[..20] {
            dying.look(&lock, &entry.id).await.unwrap();
        }
        longest(&bed, &format!("{what}: the first leaves")).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        longest(&bed, &format!("{what}: renewals")).await;
        for part in entries.chunks(2000) {
            let lives = bed.lives(&queue, &part.iter().map(|entry| &entry.id).collect::<Vec<_>>()).await;
            let pairs = lives.iter().flat_map(|life| [bed::PAST, life]);
            bed.cli(&["zadd", &*queue].into_iter().chain(pairs).collect::<Vec<_>>()).await;
        }
        bed.cli(&["slowlog", "reset"]).await;
        for _ in 0..20 {
            session.look(&lock, &last[0].id).await.unwrap();
        }
        longest(&bed, &format!("{what}: all but the last die")).await;
        stream::iter([session, dying]).for_each(async |session| session.close().await.unwrap()).await;
        bed.cli(&["flushall"]).await;
        bed.cli(&["slowlog", "reset"]).await;
    }
}

/// The number with this name in a section of `INFO`.
async fn number(bed: &Bed, section: &str, name: &str) -> f64 {
    let info = bed.cli(&["info", section]).await;
    info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')?.parse().ok()).unwrap()
}

/// What the server has had to do until now: scripts, commands, bytes in and out, and milliseconds of its processor.
async fn work(bed: &Bed) -> [f64; 5] {
    let cpu = number(bed, "cpu", "used_cpu_user").await + number(bed, "cpu", "used_cpu_sys").await;
    [
        bed.scripts_run().await as f64,
        bed.commands_run().await.iter().map(|(_, calls)| *calls as f64).sum(),
        number(bed, "stats", "total_net_input_bytes").await,
        number(bed, "stats", "total_net_output_bytes").await,
        cpu * 1000.0,
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_10_000_held_locks_cost_at_rest() {
    let bed = Bed::new().await;
    bed.cli(&["config", "set", "slowlog-log-slower-than", "200"]).await;
    let session = open(RedisOptions::new(bed.server.address())).await;
    let rest = async |what: &str| {
        let (begun, before) = (Instant::now(), work(&bed).await);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (seconds, after) = (begun.elapsed().as_secs_f64(), work(&bed).await);
        let [scripts, commands, heard, said, cpu] = std::array::from_fn(|i| (after[i] - before[i]) / seconds);
        println!(
            "{what:20} {scripts:6.1} scripts, {commands:8.0} commands, {heard:8.0} bytes in, {said:6.0} out, {cpu:6.2} ms of its processor a second"
        );
    };
    rest("nothing is held").await;
    let locks = (0..ENTRIES)
        .map(|number| LockKey { name: LockName::new(&format!("l{number}")).unwrap(), family: Family::Lock });
    stream::iter(locks)
        .for_each_concurrent(64, async |lock| {
            session.enqueue(&lock, &entry(EntryKind::Exclusive)).await.unwrap();
        })
        .await;
    bed.cli(&["slowlog", "reset"]).await;
    rest("10,000 are held").await;
    longest(&bed, "renewals").await;
}
