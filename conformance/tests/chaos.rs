//! A short run of chaos on each backend. What was broken when follows from the seed; by hand it goes on for as long as one
//! likes: `cargo run -p fairlock-conformance --features chaos --bin chaos -- --backend etcd --nodes 3 --time 10m`.

use std::process::Command;

fn survives(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output =
        command.args(arguments).args(["--time", "12s", "--clients", "3"]).output().expect("it is built");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "chaos {arguments:?}\n{said}");
    let grants = said.split(" grants").next().and_then(|number| number.lines().last()?.parse().ok());
    assert!(grants.is_some_and(|grants: u64| grants > 0), "{said}");
    eprintln!("{said}");
}

#[test]
fn zookeeper() {
    survives(&["--backend", "zookeeper", "--seed", "7"]);
}

#[test]
fn etcd() {
    survives(&["--backend", "etcd", "--seed", "7"]);
}

#[test]
fn redis() {
    survives(&["--backend", "redis", "--seed", "7"]);
}

#[test]
fn file() {
    survives(&["--backend", "file", "--seed", "7"]);
}

#[test]
fn what_cannot_be_had_is_told() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_chaos")).args(["--backend", "redis", "--nodes", "3"]).output();
    let output = output.expect("it is built");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 redis servers cannot be had"));
}
