//! The documentation of options is what the backends declare, word for word.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fairlock::UrlOption;

const BACKENDS: [(&str, &str); 6] = [
    ("ZooKeeper", "zookeeper"),
    ("etcd", "etcd"),
    ("Redis", "redis"),
    ("PostgreSQL", "postgres"),
    ("file", "file"),
    ("memory", "memory"),
];

/// Each option once, with the backends that have it.
fn table() -> String {
    let registry = fairlock::registry();
    let mut rows: Vec<(UrlOption, Vec<&str>)> = vec![(UrlOption::REQUIRE, vec!["all"])];
    for (backend, scheme) in BACKENDS {
        for option in registry.options(scheme) {
            match rows.iter_mut().find(|(known, _)| known == option) {
                Some((_, backends)) => backends.push(backend),
                None => rows.push((*option, vec![backend])),
            }
        }
    }
    let mut table = "| option | for | default | meaning |\n|---|---|---|---|\n".to_owned();
    for (UrlOption { name, default, meaning }, backends) in rows {
        let default = if default.is_empty() { "–".to_owned() } else { format!("`{default}`") };
        let _ = writeln!(table, "| `{name}=` | {} | {default} | {meaning} |", backends.join(", "));
    }
    table
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("the file is there")
}

#[test]
fn the_documentation_has_the_options_that_there_are() {
    let table = table();
    assert!(read("OPTIONS.md") == table, "fairlock/OPTIONS.md has to be:\n{table}");
    assert!(read("../README.md").contains(&table), "README.md has to contain fairlock/OPTIONS.md:\n{table}");
}
