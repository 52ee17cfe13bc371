//! From a configuration to a service: what is asked for is given or refused, and no password is shown.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use lockcore::{
    Capabilities, Config, Credentials, DistributedLock, Error, ErrorKind, Failover, Fencing, LockKey,
    LockService, LockUrl, Registry, Result, ServiceFactory, SessionEvents, SessionState, UrlOption,
};

/// Prints what the environment says; the tests below run it in a process of its own.
#[test]
fn show_the_environment() {
    match Config::from_env() {
        Ok(config) => {
            let option = config.url().ok().and_then(|url| url.option("connect_timeout").map(str::to_owned));
            println!("found {config:?} {:?} {option:?}", config.url());
        }
        Err(error) => println!("refused {:?} {error} {error:?}", error.kind()),
    }
}

fn with_environment(variables: &[(&str, &std::ffi::OsStr)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its program"));
    command.args(["--exact", "show_the_environment", "--nocapture"]).env_remove(Config::ENV);
    command.envs(variables.iter().copied());
    let output = command.output().expect("the test can run itself");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_environment_names_the_place() {
    let shown = with_environment(&[(Config::ENV, "zk://me:s3cr3t@h/app?x=1".as_ref())]);
    assert!(shown.contains("found Config { url: LockUrl(zk://h/app), .. }"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn the_environment_has_options() {
    let shown = with_environment(&[
        (Config::ENV, "zk://h".as_ref()),
        ("FAIRLOCK_OPTION_CONNECT_TIMEOUT", "5".as_ref()),
        ("FAIRLOCK_OPTION_PASSWORD", "s3cr3t".as_ref()),
    ]);
    assert!(shown.contains("Some(\"5\")") && !shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn an_environment_without_the_variable_is_told_its_name() {
    let shown = with_environment(&[]);
    assert!(shown.contains("refused InvalidConfig") && shown.contains("FAIRLOCK_URL"), "{shown}");
}

#[cfg(unix)]
#[test]
fn an_environment_that_is_not_text_is_not_shown() {
    use std::os::unix::ffi::OsStrExt;
    let broken = std::ffi::OsStr::from_bytes(b"zk://me:s3cr3t\xff@h");
    let good = "zk://h".as_ref();
    for (variable, variables) in [
        (Config::ENV, &[(Config::ENV, broken)][..]),
        ("FAIRLOCK_OPTION_PASSWORD", &[(Config::ENV, good), ("FAIRLOCK_OPTION_PASSWORD", broken)]),
    ] {
        let shown = with_environment(variables);
        assert!(shown.contains("refused InvalidConfig") && shown.contains(variable), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

/// Where a password can stand, or land by mistake.
const WITH_PASSWORD: [&str; 17] = [
    "redis://user:PASSWORD@host:1/app",
    "redis://:PASSWORD@host",
    "redis://user:PASSWORD@",
    "redis://user:PASSWORD@host:x",
    "redis://user:PASSWORD@ho!st",
    "redis://user:PASSWORD@host?nonsense=1",
    "redis://user:PASSWORD@host?a=1&a=2",
    "redis://user:PASSWORD@host/%FF",
    "redis://user:PASSWORD@host/#x",
    "r!://user:PASSWORD@host",
    "redis:/user:PASSWORD@host",
    "user:PASSWORD@host",
    "://user:PASSWORD@host",
    "redis://u:PASSWORD@a,u:PASSWORD@b",
    "redis://user:PASSWORD@a,,b",
    "zk://user:PASSWORD@h?require=nonsense",
    "zk://user:PASSWORD@h?session_timeout=x",
];

/// What should have been escaped.
const CHARACTERS: [&str; 17] =
    ["", "/", "?", "#", "@", ":", ",", "[", "]", "%", "%zz", " ", "!", "=", "://", "\0", "&"];

#[test]
fn nothing_that_is_shown_contains_a_password() {
    let in_options = ["redis://host?password=PASSWORD", "zk://host?password=PASSWORD&password=PASSWORD"];
    // Behind a raw & stands the name of an option, and those are shown.
    let in_options = in_options.iter().flat_map(|shape| CHARACTERS[..16].iter().map(move |c| (shape, c)));
    let in_user_info = WITH_PASSWORD.iter().flat_map(|shape| CHARACTERS.iter().map(move |c| (shape, c)));
    for (shape, character) in in_user_info.chain(in_options) {
        let text = shape.replace("PASSWORD", &format!("s3cr3t{character}c4n4ry"));
        for shown in everything_shown(&text) {
            assert!(!shown.contains("s3cr3t") && !shown.contains("c4n4ry"), "{text} shows {shown}");
        }
    }
}

const DECLARED: [UrlOption; 2] = [UrlOption::SESSION_TIMEOUT, UrlOption::PASSWORD];

/// Whatever a program may print about this URL.
fn everything_shown(text: &str) -> Vec<String> {
    let config = Config::new(text).with_option("password", "s3cr3t");
    let mut shown = vec![format!("{config:?}")];
    let mut show = |error: Error| shown.push(format!("{error} {error:?}"));
    text.parse::<Config>().err().into_iter().for_each(&mut show);
    config.url().err().into_iter().for_each(&mut show);
    registry(Stub::default())
        .connect(&config)
        .now_or_never()
        .expect("the stub does not wait")
        .err()
        .into_iter()
        .for_each(&mut show);
    if let Ok(url) = text.parse::<LockUrl>() {
        url.endpoints(1).err().into_iter().for_each(&mut show);
        url.options(&[]).err().into_iter().for_each(&mut show);
        Credentials::of(&url).err().into_iter().for_each(&mut show);
        match url.options(&DECLARED) {
            Ok(options) => {
                options.duration("session_timeout").err().into_iter().for_each(&mut show);
                shown.push(format!("{options:?} {:?}", options.credentials()));
            }
            Err(error) => show(error),
        }
        shown.extend([format!("{url}"), format!("{url:?}")]);
    }
    shown
}

/// A service that offers what it is told to, and knows one option.
#[derive(Debug, Clone)]
struct Stub {
    capabilities: Capabilities,
    /// Whether it was to connect.
    asked: Arc<AtomicBool>,
}

impl Default for Stub {
    fn default() -> Self {
        Self { capabilities: Capabilities::strict(), asked: Arc::default() }
    }
}

impl ServiceFactory for Stub {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        const ROOT: [UrlOption; 1] = [UrlOption::new("root", "", "where the locks are")];
        url.options(&ROOT)?;
        Ok(Arc::new(self.clone()))
    }
}

fn no_locks<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Backend, "this service has no locks"))
}

impl fmt::Display for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stub")
    }
}

#[async_trait]
impl LockService for Stub {
    fn exclusive(&self, _: &str) -> Result<Arc<dyn DistributedLock>> {
        no_locks()
    }

    fn shared(&self, _: &str) -> Result<Arc<dyn DistributedLock>> {
        no_locks()
    }

    fn semaphore(&self, _: &str, _: u32) -> Result<Arc<dyn DistributedLock>> {
        no_locks()
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        Ok(Vec::new())
    }

    async fn cleanup(&self) -> Result<u64> {
        Ok(0)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn session(&self) -> SessionState {
        SessionState::Live
    }

    fn events(&self) -> SessionEvents {
        unreachable!("nobody subscribes")
    }

    async fn ready(&self) -> Result<()> {
        self.asked.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn session_time(&self) -> Option<Duration> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn registry(stub: Stub) -> Registry {
    Registry::new().with("zk", stub.clone()).with("etcd", stub)
}

async fn refused(registry: Registry, url: &str) -> String {
    let error = registry.connect(&url.into()).await.expect_err(url);
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    error.to_string()
}

#[tokio::test]
async fn an_unknown_scheme_is_told_the_known_ones() {
    let message = refused(registry(Stub::default()), "redis://h").await;
    assert!(message.contains("\"redis\"") && message.ends_with("etcd, zk"), "{message}");
}

#[tokio::test]
async fn an_unknown_option_is_refused_on_connecting() {
    let message = refused(registry(Stub::default()), "zk://h?rot=/app").await;
    assert!(message.ends_with("valid options: root, require"), "{message}");
}

#[tokio::test]
async fn an_unknown_requirement_is_told_the_valid_ones() {
    for unknown in ["speed", "fair,speed", "Fair", " fair"] {
        let message = refused(registry(Stub::default()), &format!("zk://h?require={unknown}")).await;
        assert!(message.ends_with(&Capabilities::REQUIREMENTS.join(", ")), "{message}");
    }
}

#[tokio::test]
async fn what_is_offered_may_be_required() {
    let all = Capabilities::REQUIREMENTS.join(",");
    for requirements in ["", "fair", ",fair,", &all] {
        let stub = Stub::default();
        let url = format!("zk://h?root=/app&require={requirements}");
        registry(stub.clone()).connect(&url.as_str().into()).await.unwrap();
        assert!(stub.asked.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn what_is_not_offered_is_refused_before_anybody_connects() {
    let mut stub = Stub::default();
    stub.capabilities.fencing = Fencing::BestEffort;
    stub.capabilities.failover = Failover::MayLoseLocks;
    for unmet in ["strict-fencing", "failover", "fair,failover"] {
        let message = refused(registry(stub.clone()), &format!("zk://h?require={unmet}")).await;
        assert!(message.ends_with("only: fair, loss-detection, no-time-of-day, interprocess"), "{message}");
        assert!(!stub.asked.load(Ordering::SeqCst));
    }
}
