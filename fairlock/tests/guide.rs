//! The guide as a book: every chapter has a place in it, and every link leads somewhere. Its blocks of Rust are doctests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/src")
}

/// Where the links and pictures of a page lead, but for those to other places of the web.
fn links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("the page is there");
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let own = targets.filter(|target| !target.contains("://"));
    own.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(source()).expect("the guide is there");
    let names = entries.map(|entry| entry.expect("it is listed").file_name().into_string().expect("text"));
    names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect()
}

#[test]
fn every_chapter_is_in_the_table_of_contents_and_in_the_doctests() {
    let listed: BTreeSet<String> = links(&source().join("SUMMARY.md")).into_iter().collect();
    assert_eq!(listed, pages());
    let doctests = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide.rs"));
    let doctests = doctests.expect("the list of doctests is there");
    let missing: Vec<_> = listed.iter().filter(|page| !doctests.contains(&format!("\"{page}\""))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for link in links(&source().join(&page)) {
            assert!(source().join(&link).exists() || link.is_empty(), "{page}: {link}");
        }
    }
}
