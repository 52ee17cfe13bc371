//! Configuration files of all sorts mean the same, and say what is wrong with them.

use std::time::Duration;

use lockcore::{Config, ErrorKind, LockUrl};
use url::Url;

fn expected() -> Config {
    Config::new("redis://h/1?prefix=app:")
        .with_option("tls", true)
        .with_option("session_timeout", "15s")
        .with_option("connect_timeout", 5)
        .with_option("wait_replicas", 2_u32)
        .with_option("password_file", "/run/secrets/redis")
        .with_option("require", "fair,interprocess")
}

#[test]
fn every_format_gives_the_same() {
    let toml = r#"
        url = "redis://h/1?prefix=app:"
        tls = true
        session_timeout = "15s"
        connect_timeout = 5
        wait_replicas = 2
        password_file = "/run/secrets/redis"
        require = ["fair", "interprocess"]
    "#;
    let yaml = r#"
url: "redis://h/1?prefix=app:"
tls: true
session_timeout: 15s
connect_timeout: 5
wait_replicas: 2
password_file: /run/secrets/redis
require: [fair, interprocess]
"#;
    let json = r#"{
        "url": "redis://h/1?prefix=app:", "tls": true, "session_timeout": "15s", "connect_timeout": 5, "wait_replicas": 2,
        "password_file": "/run/secrets/redis", "require": ["fair", "interprocess"]
    }"#;
    assert_eq!(toml::from_str::<Config>(toml).unwrap(), expected());
    assert_eq!(serde_saphyr::from_str::<Config>(yaml).unwrap(), expected());
    assert_eq!(serde_json::from_str::<Config>(json).unwrap(), expected());
    let url: LockUrl =
        "redis://h/1?prefix=app:&tls=true&session_timeout=15s&connect_timeout=5&wait_replicas=2&\
                        password_file=/run/secrets/redis&require=fair,interprocess"
            .parse()
            .unwrap();
    assert_eq!(expected().url().unwrap(), url);
}

/// As a part of what a program reads for itself.
#[test]
fn it_may_be_a_part_of_a_larger_file() {
    #[derive(serde::Deserialize)]
    struct Settings {
        port: u16,
        locks: Config,
    }
    let settings: Settings =
        toml::from_str("port = 80\n[locks]\nurl = \"zk://h\"\nconnect_timeout = 2.5\n").unwrap();
    assert_eq!(settings.port, 80);
    assert_eq!(settings.locks, Config::new("zk://h").with_option("connect_timeout", 2.5));
}

#[test]
fn a_duration_of_the_program_is_written_out() {
    for (duration, text) in [(Duration::from_millis(2500), "2s 500ms"), (Duration::from_secs(90), "1m 30s")] {
        let config = Config::new("zk://h").with_option("connect_timeout", duration);
        assert_eq!(config.url().unwrap().option("connect_timeout"), Some(text));
    }
}

#[test]
fn what_cannot_be_an_option_is_told() {
    for (text, expected) in [
        (r#"{}"#, "url"),
        (r#"{ "Url": "zk://h" }"#, "url"),
        (r#"{ "url": 5 }"#, "string"),
        (r#"{ "url": "zk://h", "tls": null }"#, "text, a number, true or false"),
        (r#"{ "url": "zk://h", "tls": {} }"#, "text, a number, true or false"),
        (r#"{ "url": "zk://h", "require": ["a,b"] }"#, "comma"),
    ] {
        let error = serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_option_that_is_given_twice_is_refused() {
    let error = Config::new("zk://h?tls=true").with_option("tls", true).url().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("\"tls\" is given twice"), "{error}");
}

#[test]
fn whatever_holds_a_url_becomes_one() {
    let text = "zk://me@[::1]:2181/app?session_timeout=15s";
    let url = Url::parse(text).unwrap();
    let place: LockUrl = text.parse().unwrap();
    for config in [
        Config::from(text),
        text.to_owned().into(),
        Config::from(&text.to_owned()),
        Config::from(&url),
        url.into(),
        text.parse().unwrap(),
        Config::from(&Config::new(text)),
    ] {
        assert_eq!(config.url().unwrap(), place);
    }
}
