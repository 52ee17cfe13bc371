//! Which schemes a build knows, and what it says of the others.

use fairlock::ErrorKind;

/// A URL for each scheme that is refused without asking anybody, if the scheme is known.
const WRONG: [(&str, bool); 12] = [
    ("etcd://?unknown=1", cfg!(feature = "etcd")),
    ("etcds://?unknown=1", cfg!(feature = "etcd")),
    ("file:///tmp?unknown=1", cfg!(feature = "file")),
    ("memory://?unknown=1", cfg!(feature = "memory")),
    ("postgres://?unknown=1", cfg!(feature = "postgres")),
    ("postgresql://?unknown=1", cfg!(feature = "postgres")),
    ("redis://?unknown=1", cfg!(feature = "redis")),
    ("rediss://?unknown=1", cfg!(feature = "redis")),
    ("redis+sentinel://?unknown=1", cfg!(feature = "redis")),
    ("redis+cluster://?unknown=1", cfg!(feature = "redis")),
    ("zookeeper://?unknown=1", cfg!(feature = "zookeeper")),
    ("zookeepers://?unknown=1", cfg!(feature = "zookeeper")),
];

#[tokio::test]
async fn a_backend_that_is_off_is_told_with_its_feature() {
    for (url, on) in WRONG {
        let error = fairlock::connect(url).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert_eq!(error.to_string().contains("cargo feature"), !on, "{url}: {error}");
    }
}

#[tokio::test]
async fn the_registry_knows_what_is_on() {
    let registry = fairlock::registry();
    let known: Vec<&str> = registry.schemes().collect();
    for (url, on) in WRONG {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        assert_eq!(known.contains(&scheme), on, "{scheme}");
    }
}

#[cfg(feature = "zookeeper")]
#[tokio::test]
async fn what_needs_a_feature_of_its_own_is_told_with_it() {
    for (url, feature, on) in [
        ("zookeepers://localhost:1?connect_timeout=0.1", "zookeeper-tls", cfg!(feature = "zookeeper-tls")),
        (
            "zookeeper://a:b@localhost:1?sasl=digest-md5&connect_timeout=0.1",
            "zookeeper-sasl",
            cfg!(feature = "zookeeper-sasl"),
        ),
    ] {
        let error = fairlock::connect(url).await.expect_err(url);
        assert_eq!(error.to_string().contains(feature), !on, "{url}: {error}");
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_told_the_known_ones() {
    let error = fairlock::connect("zookeper://h").await.expect_err("a misspelt scheme");
    assert!(error.to_string().contains("unknown scheme"), "{error}");
}
