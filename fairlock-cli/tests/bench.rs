//! `fairlock bench`: what it measures where, and what its JSON says.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeSet;

use conformance::server::{Redis, ZooKeeper};
use serde_json::Value;
use support::Place;

const SHORT: [&str; 7] = ["bench", "--rounds", "1", "--time", "20ms", "--waiters", "2,3"];

async fn rows<K: Sync>(place: &Place<K>, more: &[&str]) -> Vec<Value> {
    let shown = place.stdout(&[&SHORT[..], &["--json"], more].concat()).await;
    shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn memory() -> Place<()> {
    Place { kept: (), url: "memory://".to_owned() }
}

/// The fields by which rows are told apart.
fn names(rows: &[Value]) -> Vec<String> {
    let name = |row: &Value| {
        format!("{} {} {} {}", text(row, "row"), text(row, "kind"), text(row, "release"), row["n"])
    };
    rows.iter().map(name).collect()
}

fn text<'r>(row: &'r Value, field: &str) -> &'r str {
    row[field].as_str().unwrap()
}

#[track_caller]
fn assert_measured(row: &Value) {
    for figures in [row, &row["floor"]] {
        let rate = &figures["grants_per_second"];
        let [median, min, max] = ["median", "min", "max"].map(|field| rate[field].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= max, "{row}");
    }
    assert!(row["ratio"]["median"].as_f64().unwrap() > 0.0, "{row}");
    assert_eq!(row["overtaking"], 0, "{row}");
    assert_eq!(row["rounds"], 1, "{row}");
}

const ALL: [&str; 19] = [
    "uncontended exclusive awaited 1",
    "uncontended exclusive dropped 1",
    "uncontended shared awaited 1",
    "uncontended shared dropped 1",
    "uncontended semaphore awaited 1",
    "uncontended semaphore dropped 1",
    "parallel exclusive awaited 64",
    "parallel shared awaited 64",
    "parallel semaphore awaited 64",
    "handover exclusive awaited 2",
    "handover shared awaited 2",
    "handover semaphore awaited 2",
    "handover exclusive awaited 3",
    "handover shared awaited 3",
    "handover semaphore awaited 3",
    "fanout shared awaited 2",
    "fanout semaphore awaited 2",
    "fanout shared awaited 3",
    "fanout semaphore awaited 3",
];

#[tokio::test]
async fn every_row_in_memory() {
    let rows = rows(&memory(), &[]).await;
    assert_eq!(names(&rows), ALL);
    rows.iter().for_each(assert_measured);
}

#[tokio::test]
async fn every_row_in_a_directory_of_which_nothing_is_left() {
    let place = Place::directory();
    let rows = rows(&place, &[]).await;
    assert_eq!(names(&rows), ALL);
    rows.iter().for_each(assert_measured);
    assert_eq!(place.stdout(&["list", "--json"]).await, "[]\n");
    let beside: Vec<_> = place.kept.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(beside, [place.path()]);
}

#[tokio::test]
async fn the_fields_that_the_help_documents() {
    let place = memory();
    let help = place.stdout(&["bench", "--help"]).await;
    let words: BTreeSet<&str> = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let documented = |row: &Value| {
        let undocumented = |name: &&String| !words.contains(&***name);
        let undocumented: Vec<_> = row.as_object().unwrap().keys().filter(undocumented).collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
    };
    let fields = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let rows = rows(&place, &["--only", "uncontended,handover,fanout,held,waiters", "--many", "3"]).await;
    rows.iter().for_each(documented);
    let of = |name: &str| {
        let rows: Vec<_> = rows.iter().filter(|row| row["row"] == name).map(fields).collect();
        assert!(!rows.is_empty() && rows.iter().all(|fields| *fields == rows[0]), "{name}: {rows:?}");
        rows[0].clone()
    };
    assert_eq!(of("uncontended"), of("handover"));
    assert_eq!(of("uncontended"), of("fanout"));
    assert_eq!(of("waiters"), of("held"));
}

#[tokio::test]
async fn waiters_and_held_locks() {
    for place in [memory().url, Place::directory().url] {
        let place = Place { kept: (), url: place };
        let rows = rows(&place, &["--only", "waiters,held", "--many", "40"]).await;
        let names: Vec<_> = rows.iter().map(|row| (text(row, "row"), text(row, "kind"))).collect();
        let all = ["waiters", "held"].map(|row| ["exclusive", "shared", "semaphore"].map(|kind| (row, kind)));
        assert_eq!(names, all.concat());
        for row in &rows {
            assert_eq!(row["n"], 40);
            assert!(row["memory_bytes_each"].as_f64().unwrap() > 0.0, "{row}");
            let waiters = row["row"] == "waiters";
            assert_eq!(row["overtaking"], if waiters { Value::from(0) } else { Value::Null }, "{row}");
            assert_eq!(row["grants_per_second"].is_null(), !waiters, "{row}");
        }
    }
}

#[tokio::test]
async fn redis_tells_what_a_grant_costs() {
    let place = Place::with(Redis::start().await.unwrap());
    let rows = rows(
        &place,
        &["--only", "uncontended,handover,fanout,held", "--kind", "exclusive,shared", "--many", "5"],
    )
    .await;
    let (held, fast): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["row"] == "held");
    assert_eq!((held.len(), fast.len()), (2, 10));
    for row in fast {
        assert_measured(row);
        for cost in ["requests_per_grant", "commands_per_grant", "bytes_per_grant", "server_cpu_us_per_grant"]
        {
            assert!(row[cost].as_f64().unwrap() > 0.0, "{cost} of {row}");
        }
        // Two scripts of one command each; a message may be under way where a count begins.
        if row["row"] != "fanout" {
            let floor = row["floor"]["requests_per_grant"].as_f64().unwrap();
            assert!((1.5..2.5).contains(&floor), "{row}");
        }
    }
    for row in held {
        assert!(row["bytes_per_second"].as_f64().unwrap() >= 0.0, "{row}");
    }
    assert_eq!(place.stdout(&["list", "--json"]).await, "[]\n");
}

#[tokio::test]
async fn zookeeper_tells_what_a_grant_costs() {
    let place = Place::on(ZooKeeper::start().await.unwrap());
    for row in rows(&place, &["--only", "uncontended,handover", "--kind", "exclusive"]).await {
        assert_measured(&row);
        for cost in ["requests_per_grant", "bytes_per_grant", "server_cpu_us_per_grant"] {
            assert!(row[cost].as_f64().unwrap() > 0.0, "{cost} of {row}");
        }
        assert!(row["commands_per_grant"].is_null(), "{row}");
    }
    assert_eq!(place.stdout(&["list", "--json"]).await, "[]\n");
}

#[tokio::test]
async fn people_get_a_table() {
    let shown = memory()
        .stdout(&[&SHORT[..], &["--only", "handover,held", "--kind", "semaphore", "--many", "3"]].concat())
        .await;
    let lines: Vec<&str> = shown.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["ROW", "handover", "handover", "", "ROW", "handover", "handover", "", "ROW", "held"],
        "{shown}"
    );
}

#[tokio::test]
async fn a_drawing_that_other_programs_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a plot.svg");
    let place = Place::with(Redis::start().await.unwrap());
    place.stdout(&[&SHORT[..], &["--only", "handover", "--plot", file.to_str().unwrap()]].concat()).await;
    let drawn = std::fs::read_to_string(&file).unwrap();
    let document = roxmltree::Document::parse(&drawn).unwrap();
    assert_eq!(document.root_element().tag_name().name(), "svg");
    let texts: BTreeSet<&str> =
        document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    let wanted = [
        "grants per second",
        "server's processor time per grant, µs",
        "exclusive",
        "shared",
        "semaphore",
        "floor",
    ];
    for text in wanted {
        assert!(texts.contains(text), "{text} is not among {texts:?}");
    }
    let known = fairlock::EntryId::parse(place.url.split(['=', '&']).nth(1).unwrap()).unwrap();
    assert!(!drawn.contains(known.as_str()), "options of the URL may be secrets");
}

#[tokio::test]
async fn mistakes_are_told_at_once() {
    let mistakes: [(&[&str], &str); 10] = [
        (&["--only", "nosuch"], "[possible values: uncontended, parallel, handover, fanout, waiters, held]"),
        (&["--kind", "nosuch"], "[possible values: exclusive, shared, semaphore]"),
        (&["--waiters", "1"], "1 is not in 2..=10000"),
        (&["--waiters", "2,,3"], "invalid"),
        (&["--rounds", "0"], "0 is not in 1..=1000"),
        (&["--time", "0s"], "not between 1ms and 1h"),
        (&["--time", "soon"], "invalid value 'soon'"),
        (&["--many", "0"], "0 is not in"),
        (
            &["--only", "fanout", "--kind", "exclusive"],
            "one departure lets in no more than one exclusive lock",
        ),
        (&["--only", "held", "--plot", "x.svg"], "--plot draws the row handover"),
    ];
    for (mistake, reason) in mistakes {
        let output = memory().output(&[&["bench"], mistake].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(64), &b""[..]), "{mistake:?}: {said}");
        assert!(said.contains(reason), "{mistake:?}: {said}");
    }
}

#[tokio::test]
async fn a_drawing_that_cannot_be_written_is_told_before_anything_is_measured() {
    let output = memory().output(&["bench", "--plot", "/nonexistent/x.svg"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(70), &b""[..]), "{said}");
    assert!(said.contains("/nonexistent/x.svg: No such file or directory"), "{said}");
}
