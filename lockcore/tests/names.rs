//! Names of locks: any text is a name, and no two names become one path or key.

use std::collections::BTreeMap;

use lockcore::{ErrorKind, LockName};
use proptest::prelude::*;

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Anything that ends up in a path, a key, a script or a log without harm.
fn check_encoding(text: &str) -> String {
    let encoded = name(text).encode();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
    assert!(encoded.chars().all(harmless), "{text:?} became {encoded:?}");
    assert!(!encoded.is_empty() && !encoded.starts_with('.'), "{text:?} became {encoded:?}");
    assert!(encoded.len() <= 3 * text.len(), "{text:?} became {encoded:?}");
    assert_eq!(LockName::decode(&encoded), Some(name(text)), "{encoded:?}");
    encoded
}

/// Text made to collide: escapes, separators and dots rather than letters.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "%", "%2", "%2F", "%2f", "%25", "2F", "2E", "%2E", ".", "..", "/", "_", "__", "-", "a", "A",
            "\0", "{", "}", "é", "e\u{301}",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn encoding_is_harmless_and_reversible(text in prop_oneof![tricky(), ".{1,128}"]) {
        check_encoding(&text);
    }

    #[test]
    fn different_names_have_different_encodings(a in tricky(), b in tricky()) {
        prop_assert_eq!(a == b, name(&a).encode() == name(&b).encode());
    }

    #[test]
    fn decoding_undoes_an_encoding_or_refuses(text in prop_oneof![tricky(), "[%0-9A-Fa-f._-]{0,12}", ".*"]) {
        if let Some(decoded) = LockName::decode(&text) {
            prop_assert_eq!(decoded.encode(), text);
        }
    }
}

/// What has broken other lock services.
const TROUBLE: [&str; 61] = [
    " ",
    "/",
    "//",
    "a/b",
    "a//b",
    "/a",
    "a/",
    "a",
    "ab",
    ".",
    "..",
    "...",
    "a/..",
    "./a",
    "%2E",
    "%2E.",
    "zookeeper",
    "a\0b",
    "\0",
    "\n",
    "\r\n$1",
    "\u{7f}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{d7ff}",
    "\u{1f}",
    "\u{9f}",
    "\u{f8ff}",
    "\u{1f512}",
    "\u{e9}",
    "e\u{301}",
    "A",
    "I",
    "i",
    "\u{131}",
    "\u{130}",
    "{a}",
    "a{b}c",
    "}{",
    "{}",
    "*",
    "[a]",
    "?",
    "%",
    "%%",
    "%00",
    "%2F",
    "a%2Fb",
    "a%2fb",
    "a__b",
    "a:b",
    "a b",
    "a+b",
    "lock-",
    "__lock__",
    "queue",
    "token",
    "0000000000",
    "-0000000000",
    "sem-",
    "ex-x-0000000001",
];

#[test]
fn every_troublesome_name_is_a_name_of_its_own() {
    let long = ["x".repeat(255), "x".repeat(256), "\u{ffff}".repeat(LockName::MAX / 3)];
    let mut encodings = BTreeMap::new();
    for text in TROUBLE.into_iter().chain(long.iter().map(String::as_str)) {
        let taken = encodings.insert(check_encoding(text), text);
        assert_eq!(taken, None, "{text:?} has the encoding of another name");
    }
}

#[test]
fn encodings_do_not_change_from_release_to_release() {
    for (text, encoded) in [
        ("orders-42_a.b", "orders-42_a.b"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        (".", "%2E"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("{x}", "%7Bx%7D"),
        ("é", "%C3%A9"),
    ] {
        assert_eq!(name(text).encode(), encoded);
    }
}

#[test]
fn the_longest_name_is_counted_in_bytes() {
    let longest = "é".repeat(LockName::MAX / 2);
    assert_eq!(check_encoding(&longest).len(), 3 * LockName::MAX);
    for text in [format!("{longest}x"), "x".repeat(4096), "x".repeat(1 << 20)] {
        let error = LockName::new(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("512"), "{error}");
        assert!(error.to_string().len() < 100, "the message repeats the name: {error}");
    }
}

#[test]
fn the_empty_name_is_refused() {
    assert_eq!(LockName::new("").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(LockName::decode(""), None);
}

#[test]
fn foreign_text_is_no_encoding() {
    for text in [".", "..", ".a", "a/b", "a b", "%", "%2", "%2f", "%41", "%FF", "%C3", "é", "{a}", "a:b"] {
        assert_eq!(LockName::decode(text), None, "{text:?}");
    }
    assert_eq!(LockName::decode(&"x".repeat(513)), None);
}
