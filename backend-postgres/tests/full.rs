//! Disks of the server that are full. What the kernel or this user may not arrange is ignored, with the reason: containers often have no mounts.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::future_not_send, reason = "a test runs on one thread")]

#[path = "server/bed.rs"]
mod bed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use conformance::server::Postgres;
use libtest_mimic::{Arguments, Failed, Trial};
use lockcore::{DistributedLockExt, ErrorKind, Loss};

use bed::{DEADLINE, SHORT, connect, enqueue, give_back, granted, locks, options, start, until, until_sql};

/// Set in a process that has mounts of its own, so that they go with it however it ends.
const MOUNTS: &str = "BACKEND_POSTGRES_TEST_MOUNTS";

fn main() -> ExitCode {
    let own = std::env::var_os(MOUNTS).is_some();
    if !own && let Some(way) = mounting() {
        let mut again = Command::new("unshare");
        again
            .args(way)
            .arg(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env(MOUNTS, "own");
        let code = again.status().unwrap().code();
        return ExitCode::from(code.and_then(|code| code.try_into().ok()).unwrap_or(1));
    }
    let trials = vec![
        trial(
            "without_room_for_tables_nobody_comes_and_everybody_who_is_there_goes_on",
            own,
            without_room_for_tables_nobody_comes_and_everybody_who_is_there_goes_on,
        ),
        trial(
            "who_cannot_renew_for_want_of_room_is_told_before_the_next_is_let_in",
            own,
            who_cannot_renew_for_want_of_room_is_told_before_the_next_is_let_in,
        ),
        trial(
            "a_crash_for_want_of_room_for_the_log_is_no_loss_and_waited_through",
            own,
            a_crash_for_want_of_room_for_the_log_is_no_loss_and_waited_through,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, own: bool, test: fn() -> F) -> Trial {
    let reason = if own { "" } else { " (it takes root, and a kernel that lets it mount a file system)" };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        Ok::<_, Failed>(())
    };
    Trial::test(format!("{name}{reason}"), run).with_ignored_flag(!own)
}

/// How `unshare` gives root mounts of its own, if at all; in `chroot`, the root directory is no mount that could be made private.
fn mounting() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--propagation", "unchanged"]];
    ways.into_iter().find(|way| {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            "setpriv --reuid=postgres true && mount -t tmpfs none {0} && umount {0}",
            directory.path().display()
        );
        let mut command = Command::new("unshare");
        command.args(*way).args(["sh", "-c", &script]).output().is_ok_and(|output| output.status.success())
    })
}

/// Mounts a file system of this size for the server.
fn mount(size: &str, directory: &Path) {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={size},uid=postgres,mode=700"), "none"]);
    assert!(command.arg(directory).status().unwrap().success());
}

/// A server whose tables have a small disk of their own.
async fn with_small_tables() -> Postgres {
    let server = Postgres::start().await.unwrap();
    let small = data(&server).await.with_file_name("small");
    fs::create_dir(&small).unwrap();
    mount("4m", &small);
    server.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", small.display())).await.unwrap();
    server.sql("ALTER DATABASE postgres SET default_tablespace = small").await.unwrap();
    server
}

async fn data(server: &Postgres) -> PathBuf {
    server.sql("SHOW data_directory").await.unwrap().into()
}

async fn fill(server: &Postgres) {
    server.sql("CREATE TABLE filler AS SELECT 0 AS number").await.unwrap();
    let mut rows = 100_000;
    while rows > 0 {
        if server.sql(&format!("INSERT INTO filler SELECT generate_series(1, {rows})")).await.is_err() {
            rows /= 2;
        }
    }
}

async fn without_room_for_tables_nobody_comes_and_everybody_who_is_there_goes_on() {
    let server = with_small_tables().await;
    let life = Duration::from_secs(10);
    let brief = || options(&server).with_session_timeout(life);
    let (alice, bob) = (connect(brief()).await.unwrap(), connect(brief()).await.unwrap());
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let waiting = enqueue(&bob.exclusive("a").unwrap(), 1).await;
    fill(&server).await;
    let mut guards = Vec::new();
    let refused = loop {
        let free = start(&alice.exclusive(&format!("free/{}", guards.len())).unwrap());
        match tokio::time::timeout(DEADLINE, free).await.expect("it is not refused").unwrap() {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Backend, "{refused:?}");
    assert!(refused.to_string().contains("the disk of the server is full"), "{refused}");
    let clock = "SELECT last_value FROM fairlock.clock";
    let full: u128 = server.sql(clock).await.unwrap().parse().unwrap();
    let passed = format!("SELECT last_value > {} FROM fairlock.clock", full + life.as_millis() + 2000);
    until_sql(&server, &passed, "t").await;
    guard.verify().await.unwrap();
    assert!(!waiting.is_finished());
    give_back(guard).await;
    let next = granted(waiting).await;
    for guard in guards {
        assert!(guard.is_valid());
        give_back(guard).await;
    }
    assert_eq!(server.sql("SELECT count(*) FROM fairlock.entry").await.unwrap(), "1");
    server.sql("DROP TABLE filler").await.unwrap();
    let token = next.fencing_token();
    give_back(next).await;
    let last = alice.exclusive("a").unwrap().acquire().await.unwrap();
    assert!(last.fencing_token() > token);
    give_back(last).await;
}

async fn who_cannot_renew_for_want_of_room_is_told_before_the_next_is_let_in() {
    let server = Arc::new(with_small_tables().await);
    let short = || options(&server).with_session_timeout(SHORT);
    let (alice, bob) = (connect(short()).await.unwrap(), locks(&server).await);
    let a = alice.exclusive("a").unwrap();
    let guard = a.acquire().await.unwrap();
    let waiting = enqueue(&bob.exclusive("a").unwrap(), 1).await;
    // Who may still see them keeps the earlier versions of the sessions.
    let reader = tokio::spawn({
        let server = server.clone();
        async move {
            let reads = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT; SELECT pg_sleep(3600)";
            server.sql(reads).await
        }
    });
    until_sql(&server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1").await;
    fill(&server).await;
    let renew = "DO $$ BEGIN LOOP UPDATE fairlock.session SET epoch = epoch; COMMIT; END LOOP; END $$";
    let refused = server.sql(renew).await.unwrap_err();
    assert!(refused.to_string().contains("No space left"), "{refused}");
    assert_eq!(tokio::time::timeout(DEADLINE, guard.lost()).await.unwrap(), Loss::Deadline);
    let next = granted(waiting).await;
    assert!(!guard.is_valid() && next.is_valid());
    assert!(next.fencing_token() > guard.fencing_token());
    let again = start(&a);
    let refused = tokio::time::timeout(DEADLINE, again).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Backend, "{refused:?}");
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    server.sql(ended).await.unwrap();
    reader.await.unwrap().unwrap_err();
    server.sql("DROP TABLE filler").await.unwrap();
    give_back(next).await;
    until("there is a session again", async || match a.acquire().await {
        Ok(guard) => {
            give_back(guard).await;
            true
        }
        Err(_) => false,
    })
    .await;
    until_sql(&server, "SELECT count(*) FROM fairlock.entry", "0").await;
}

/// Moves the log of the server to a small disk of its own. Where it is.
async fn with_small_log(server: &Postgres) -> PathBuf {
    let log = data(server).await.join("pg_wal");
    server.stop("fast").await.unwrap();
    let kept = log.with_file_name("kept");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&log, &kept);
    mount("40m", &log);
    copy(&kept.join("."), &log);
    server.restart().await.unwrap();
    log
}

async fn a_crash_for_want_of_room_for_the_log_is_no_loss_and_waited_through() {
    let server = Postgres::start().await.unwrap();
    let log = with_small_log(&server).await;
    let (alice, bob) = (locks(&server).await, locks(&server).await);
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let waiting = enqueue(&bob.exclusive("a").unwrap(), 1).await;
    let filler = log.join("filler");
    fs::write(&filler, vec![0; 100_000_000]).unwrap_err();
    // What is written next, mostly by what is asked for next, goes beyond the part of the log that there is.
    let most = "SELECT length(pg_logical_emit_message(false, '', repeat('x', (pg_size_bytes(current_setting('wal_segment_size')) \
        - file_offset - 300)::integer))::text) FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())";
    let _ = server.sql(most).await;
    let coming = start(&alice.exclusive("b").unwrap());
    until("the server is down", async || {
        let answer = server.sql("SELECT 1").await;
        answer.is_err_and(|error| error.to_string().contains("refused"))
    })
    .await;
    let error = guard.verify().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    fs::remove_file(&filler).unwrap();
    server.restart().await.unwrap();
    let came = granted(coming).await;
    until("the server confirms the hold", async || guard.verify().await.is_ok()).await;
    assert!(!waiting.is_finished());
    give_back(guard).await;
    give_back(granted(waiting).await).await;
    give_back(came).await;
    until_sql(&server, "SELECT count(*) FROM fairlock.entry", "0").await;
}
