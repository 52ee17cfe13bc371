//! `fairlock run` killed at random moments: nothing of the old program runs while the next one does.
//!
//! The witness is the kernel. Every program takes a lock of its own on one file and hands it to all that it starts, so
//! that it is free when nothing of it runs any more, and no sooner. Whoever does not get it at once has seen an overlap,
//! whether it is the next one that is early or something of the old one that is late.
//!
//! A thousand kills each (two minutes):
//! `cargo test -p fairlock-cli --test kills -- --ignored --nocapture`

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use conformance::server::Redis;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use support::{Place, Running, in_time};

/// Takes the witness, and starts two that work, one of them in a session of its own.
const PROGRAM: &str = "exec 9>> $WITNESS; flock -n 9 || echo overlap >> $WITNESS; \
                       echo works >> $WITNESS; setsid sleep 100 & sleep 100 & wait";

/// How many are killed, on how many locks at once, and how long after the grant: from the start of the guardian to long
/// after that of those who work.
#[derive(Clone, Copy)]
struct Plan {
    lanes: usize,
    times: usize,
    within: Duration,
}

const DIRECTORY: Plan = Plan { lanes: 2, times: 500, within: Duration::from_millis(60) };
/// It takes a session to let the next one in.
const SERVER: Plan = Plan { lanes: 40, times: 25, within: Duration::from_millis(300) };

/// Starts one after the other on a lock of its own, and kills each a random time after it was granted the lock.
async fn kill_in_turn<K: Sync>(place: &Place<K>, lane: usize, plan: Plan) -> (usize, usize) {
    let name = &*format!("lane-{lane}");
    let directory = tempfile::tempdir().unwrap();
    let (witness, mut random) = (directory.path().join("witness"), StdRng::seed_from_u64(lane as u64));
    let start = || {
        let mut command = place.command(&["run", "--verbose", name, "--", "sh", "-c", PROGRAM]);
        command.env("WITNESS", &witness).stderr(Stdio::piped());
        let mut run = Running::start(command);
        let said = BufReader::new(run.child.stderr.take().unwrap()).lines();
        (run, said)
    };
    let (mut run, mut said) = start();
    for _ in 0..plan.times {
        let mut heard = String::new();
        let granted = async {
            while !heard.contains("fairlock: got ") {
                heard += &said.next_line().await.unwrap().unwrap_or_else(|| panic!("not granted: {heard}"));
            }
        };
        in_time("the grant", granted).await;
        let next = start();
        tokio::time::sleep(random.random_range(Duration::ZERO..plan.within)).await;
        run.signal(Signal::KILL);
        (run, said) = next;
    }
    run.signal(Signal::TERM);
    in_time("the end", async { while said.next_line().await.unwrap().is_some() {} }).await;
    let seen = std::fs::read_to_string(witness).unwrap_or_default();
    let count = |what| seen.lines().filter(|line| *line == what).count();
    (count("works"), count("overlap"))
}

async fn kill<K: Sync>(place: &Place<K>, plan: Plan) {
    let lanes = (0..plan.lanes).map(|lane| kill_in_turn(place, lane, plan));
    let seen = join_all(lanes).await;
    let (worked, overlaps) =
        seen.iter().fold((0, 0), |(all, sum), (worked, overlaps)| (all + worked, sum + overlaps));
    let kills = plan.lanes * plan.times;
    println!("{kills} kills, {worked} programs that had begun to work, {overlaps} overlaps");
    assert_eq!(overlaps, 0, "something of an old program ran beside the next");
    assert!(worked > kills / 4, "hardly any program worked: {worked}");
}

#[tokio::test]
async fn nothing_runs_beside_the_next_holder_in_a_directory() {
    kill(&Place::directory(), Plan { lanes: 1, times: 30, ..DIRECTORY }).await;
}

#[tokio::test]
async fn nothing_runs_beside_the_next_holder_on_a_server() {
    let redis = Redis::given_or_start().await.unwrap();
    kill(&Place::with(redis), Plan { lanes: 15, times: 2, ..SERVER }).await;
}

#[tokio::test]
#[ignore = "takes a minute: see above"]
async fn a_thousand_kills_in_a_directory() {
    kill(&Place::directory(), DIRECTORY).await;
}

#[tokio::test]
#[ignore = "takes minutes: see above"]
async fn a_thousand_kills_on_a_server() {
    kill(&Place::with(Redis::given_or_start().await.unwrap()), SERVER).await;
}
