//! Whatever text comes from outside: no panic, no hang, and what is accepted is what it seems to be. Ten thousand cases of each;
//! `PROPTEST_CASES=1000000 cargo test -p fairlock-core --test bad_input` for more.

use lockcore::{Config, EntryId, EntryKind, LockName, LockUrl, UrlOption};
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

fn cases() -> Cases {
    let usual = Cases::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual,
        None => Cases { cases: 10_000, ..usual },
    }
}

/// Text that is nearly right, and any text.
fn text(like: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![3 => like.prop_map(|text| text), 1 => any::<String>(), 1 => "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn urls(text in text("[a-z]{0,5}:?/{0,3}([a-z%@:]{0,9}@)?[\\[\\]a-z0-9:,.]{0,20}(/[a-z%0-9]{0,6})?(\\?([a-z_]{1,9}=[0-9a-z%&]{0,9}){0,3})?")) {
        if let Ok(url) = text.parse::<LockUrl>() {
            let _ = (url.endpoints(1), url.options(&[UrlOption::SESSION_TIMEOUT]).is_ok());
            // What is shown is short of secrets, and no longer than what was given.
            prop_assert!(url.to_string().len() <= text.len());
        }
    }

    #[test]
    fn options(value in text("[0-9]{0,25}[a-z]{0,3}")) {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url: LockUrl = format!("zk://host/?session_timeout={encoded}").parse().expect("the value is encoded");
        let _ = url.options(&[UrlOption::SESSION_TIMEOUT]).expect("it is declared").duration("session_timeout");
    }

    #[test]
    fn names(text in text("[a-zA-Z0-9%_.~-]{0,30}")) {
        if let Some(name) = LockName::decode(&text) {
            prop_assert_eq!(name.encode(), text);
        }
    }

    #[test]
    fn kinds(text in text("(ex|sh|sem-[0-9]{0,12}-?[0-9]{0,12})-?[a-z0-9-]{0,12}")) {
        if let Some(kind) = EntryKind::decode(&text) {
            prop_assert_eq!(kind.encode(), text.clone());
            prop_assert!((1..=kind.limit()).contains(&kind.weight()));
        }
        if let Some((kind, rest)) = EntryKind::split(&text) {
            prop_assert_eq!(format!("{}-{rest}", kind.encode()), text);
        }
    }

    #[test]
    fn ids(text in text("[a-zA-Z0-9]{0,30}")) {
        if let Some(id) = EntryId::parse(&text) {
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn configurations(text in text("\\{(\"(url|options|x)\": ?(\"[a-z:/]{0,12}\"|\\{\\}|[0-9]{1,30}|\\[\\]),?){0,3}\\}")) {
        let _ = serde_json::from_str::<Config>(&text);
    }
}
