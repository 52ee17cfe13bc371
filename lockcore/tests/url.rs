//! URLs: what is written is what is meant, and mistakes are told.

use std::time::Duration;

use lockcore::{ErrorKind, LockUrl, UrlOption};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use url::form_urlencoded::Serializer;

const OPTIONS: [UrlOption; 6] = [
    UrlOption::SESSION_TIMEOUT,
    UrlOption::new("text", "", ""),
    UrlOption::new("word", "good", ""),
    UrlOption::new("flag", "true", ""),
    UrlOption::new("choice", "green", ""),
    UrlOption::new("number", "7", ""),
];

fn parse(text: &str) -> LockUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    let error = text.parse::<LockUrl>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    error.to_string()
}

fn host() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[a-z][a-z0-9_-]{0,8}(\\.[a-z0-9]{1,5}){0,2}",
        Just("[::1]".into()),
        Just("[fe80::1%25eth0]".into())
    ];
    (name, option::of(1..=u16::MAX)).prop_map(|(name, port)| match port {
        Some(port) => format!("{name}:{port}"),
        None => name,
    })
}

fn percent(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(
        scheme in "[a-z][a-z0-9+.-]{0,8}",
        credentials in option::of((".{0,8}", option::of(".{0,8}"))),
        hosts in vec(host(), 0..4),
        path in option::of(".{0,16}"),
        options in prop::collection::btree_map("\\PC{1,8}", ".{0,8}", 0..4),
    ) {
        let user_info = credentials.as_ref().map(|(user, password)| match password {
            Some(password) => format!("{}:{}@", percent(user), percent(password)),
            None => format!("{}@", percent(user)),
        });
        let query = Serializer::new(String::new()).extend_pairs(&options).finish();
        let written = format!(
            "{}://{}{}{}?{query}",
            scheme.to_uppercase(),
            user_info.unwrap_or_default(),
            hosts.join(","),
            path.as_ref().map(|path| format!("/{}", percent(path))).unwrap_or_default(),
        );
        let url = parse(&written);
        prop_assert_eq!(url.scheme(), scheme);
        let expected = credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_deref()));
        prop_assert_eq!(url.credentials(), expected);
        prop_assert_eq!(url.hosts(), hosts);
        prop_assert_eq!(url.path(), path.map(|path| format!("/{path}")).unwrap_or_default());
        // Also not to be told from the same URL whose options come from a configuration file.
        let (bare, _) = written.split_once('?').unwrap();
        prop_assert_eq!(parse(bare).with_options(options).unwrap(), url);
    }

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![".*", "[a-z]{1,3}://[]a:@/?#,&=%\\[\u{e9}]{0,20}"]) {
        if let Ok(url) = text.parse::<LockUrl>() {
            let _ = (url.endpoints(1), url.options(&[]), format!("{url} {url:?}"));
            let _ = url.options(&OPTIONS).map(|options| (options.duration("session_timeout"), options.flag("flag")));
        }
    }
}

#[test]
fn an_ordinary_url() {
    let url =
        parse("ZooKeeper://me:p%40ss@zk1:2181,zk2,[::1]:2183/app/a%2Fb?session_timeout=15s&text=1+2%26");
    assert_eq!(url.scheme(), "zookeeper");
    assert_eq!(url.credentials(), Some(("me", Some("p@ss"))));
    assert_eq!(url.hosts(), ["zk1:2181", "zk2", "[::1]:2183"]);
    assert_eq!(url.endpoints(2181).unwrap(), ["zk1:2181", "zk2:2181", "[::1]:2183"]);
    assert_eq!(url.path(), "/app/a/b");
    let options = url.options(&OPTIONS).unwrap();
    assert_eq!(options.text("text"), Some("1 2&"));
    assert_eq!(options.duration("session_timeout").unwrap(), Duration::from_secs(15));
    assert_eq!(url.to_string(), "zookeeper://zk1:2181,zk2,[::1]:2183/app/a/b");
    assert_eq!(format!("{url:?}"), format!("LockUrl({url})"));
}

#[test]
fn a_url_without_hosts() {
    for text in ["memory://", "file:///var/lib/locks", "file://?x=1"] {
        let url = parse(text);
        assert_eq!(url.hosts(), [""; 0]);
        let error = url.endpoints(2181).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("://host:2181/"), "{error}");
    }
    assert_eq!(parse("file:///var/lib/locks").path(), "/var/lib/locks");
}

#[test]
fn every_refusal_says_what_is_expected() {
    for (text, expected) in [
        ("", "scheme://host:port/path?option=value"),
        ("localhost:2181", "scheme://host:port/path?option=value"),
        ("1zk://host", "letters, digits, +, - and ."),
        ("z k://host", "letters, digits, +, - and ."),
        ("zk://host/#part", "%23"),
        ("zk://a,,b", "host \"\""),
        ("zk://a b", "host \"a b\""),
        ("zk://host/%FF", "UTF-8"),
        ("zk://us%FFer@host", "UTF-8"),
        ("zk://user:%FF@host", "UTF-8"),
        ("zk://host?a=1&a=2", "\"a\" is given twice"),
        ("zk://user:pa/ss@host", "%40"),
        ("zk://user:pa?ss@host", "%40"),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn hosts_have_a_name_and_a_port() {
    for host in [
        "h:0", "h:65536", "h:", "h:http", "h:-1", ":1", "::1", "[::1", "::1]", "[]", "[]:1", "a:b:1",
        "[::1]x:1", "x[::1]:1",
    ] {
        let found = format!("zk://{host}").parse().and_then(|url: LockUrl| url.endpoints(2181));
        let error = found.expect_err(host);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(host), "{error}");
    }
    assert_eq!(parse("zk://[fe80::1%25eth0]").endpoints(7).unwrap(), ["[fe80::1%25eth0]:7"]);
}

/// Of one option what this value means.
fn read<T>(
    name: &str,
    value: &str,
    read: impl Fn(&lockcore::UrlOptions<'_>, &str) -> lockcore::Result<T>,
) -> Result<T, String> {
    let url = parse("zk://h").with_options([(name.to_owned(), value.to_owned())]);
    let url = url.expect("no option is given twice");
    let options = url.options(&OPTIONS).expect("the option is declared");
    read(&options, name).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        error.to_string()
    })
}

#[test]
fn an_option_of_the_wrong_sort_is_refused() {
    for wrong in ["0s", "0", "-1", "1x", "s", "", "inf", "nan", "1e30"] {
        let message = read("session_timeout", wrong, |options, name| options.duration(name)).unwrap_err();
        assert!(
            message.contains("session_timeout") && message.contains("10s or 500ms, or a number of seconds"),
            "{message}"
        );
    }
    let message = read("flag", "yes", |options, name| options.flag(name)).unwrap_err();
    assert!(message.contains("flag") && message.contains("true, false"), "{message}");
    let message = read("choice", "blue", |options, name| options.choice(name, &[("red", 1), ("green", 2)]))
        .unwrap_err();
    assert!(message.contains("choice") && message.contains("red, green"), "{message}");
    let message = read("number", "-1", |options, name| options.number::<u32>(name)).unwrap_err();
    assert!(message.contains("number=\"-1\""), "{message}");
}

#[test]
fn a_duration_has_units_or_is_a_number_of_seconds() {
    for (text, milliseconds) in
        [("1m 30s", 90_000), ("500ms", 500), ("5", 5_000), ("2.5", 2_500), ("0.001", 1)]
    {
        let duration = read("session_timeout", text, |options, name| options.duration(name));
        assert_eq!(duration, Ok(Duration::from_millis(milliseconds)), "{text}");
    }
}

#[test]
fn an_option_that_is_not_given_has_its_default() {
    let url = parse("zk://h");
    let options = url.options(&OPTIONS).unwrap();
    assert_eq!((options.text("text"), options.text("word")), (None, Some("good")));
    assert_eq!(options.duration("session_timeout").unwrap(), Duration::from_secs(10));
    assert!(options.flag("flag").unwrap());
    assert_eq!(options.choice("choice", &[("red", 1), ("green", 2)]).unwrap(), 2);
    assert_eq!(options.number::<u8>("number").unwrap(), 7);
}

#[test]
fn an_unknown_option_is_told_the_valid_ones() {
    let url = parse("zk://h?sesion_timeout=1s");
    let error = url.options(&OPTIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let message = error.to_string();
    assert!(message.contains("\"sesion_timeout\""), "{message}");
    assert!(
        message.ends_with("valid options: session_timeout, text, word, flag, choice, number, require"),
        "{message}"
    );
}

#[test]
fn a_backend_without_options_has_one_all_the_same() {
    let message = parse("zk://h?a=1").options(&[]).unwrap_err().to_string();
    assert!(message.ends_with("valid options: require"), "{message}");
    assert!(parse("zk://h?require=fair").options(&[]).is_ok());
}
