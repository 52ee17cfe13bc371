//! The catalogue of faults (`docs/faults.md`): each is tried by a test that exists, or has the reason why it does not apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How many faults of each group there are.
const GROUPS: [(&str, usize); 15] = [
    ("ME", 14),
    ("FQ", 14),
    ("LW", 16),
    ("SL", 17),
    ("UO", 12),
    ("CD", 18),
    ("RO", 10),
    ("PC", 11),
    ("SV", 16),
    ("FT", 11),
    ("SH", 18),
    ("CL", 7),
    ("NM", 9),
    ("RX", 12),
    ("SC", 9),
];

/// What applies, and cannot be tried here.
const NOT_TRIED: [&str; 1] = ["PC-08"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above")
}

/// Each fault with the last cell of its row.
fn catalogue() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("docs/faults.md")).expect("the catalogue is there");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let id = cells.next().filter(|id| id.contains('-') && !id.starts_with('-'))?.to_owned();
        Some((id, cells.last()?.to_owned()))
    };
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    let catalogue: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(catalogue.len(), rows.len(), "an id stands there twice");
    catalogue
}

#[test]
fn every_fault_is_in_the_catalogue() {
    let expected =
        GROUPS.iter().flat_map(|(group, count)| (1..=*count).map(move |n| format!("{group}-{n:02}")));
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(catalogue().into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_fault_is_tried_by_a_test_that_exists_or_does_not_apply() {
    let trials: BTreeSet<String> = conformance::trials().iter().map(|trial| trial.name()).collect();
    for (id, tried) in catalogue() {
        if let Some(reason) = tried.strip_prefix("not applicable: ") {
            assert!(reason.len() > 20, "{id} has no reason: {reason:?}");
            continue;
        }
        if tried.starts_with("not tried: ") {
            assert!(NOT_TRIED.contains(&&*id), "{id} is not tried");
            continue;
        }
        let names: Vec<&str> = tried.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{id} is neither tried nor said not to apply: {tried:?}");
        for name in names {
            let exists = match name.split_once("::") {
                Some((file, test)) => has_test(file, test),
                None => trials.contains(name),
            };
            assert!(exists, "{id} is tried by {name}, which does not exist");
        }
    }
}

fn has_test(file: &str, test: &str) -> bool {
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    [format!("fn {test}("), format!("fn {test}<")].iter().any(|function| text.contains(function))
}
