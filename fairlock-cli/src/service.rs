//! The service that the commands work with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlock::{AcquireOptions, Config, DistributedLock, Error, LockGuard, LockService, LockUrl, Released};
use rustix::process::geteuid;

use crate::exit::{CONFIG, Failure, NOT_IN_TIME};
use crate::output;

/// The URL that was given, or else that of a directory of this machine.
pub(crate) fn place(url: Option<&str>) -> Result<String, Failure> {
    match url {
        Some(url) => Ok(url.to_owned()),
        None => Ok(format!("file://{}", directory(geteuid().as_raw())?)),
    }
}

/// The directory where the locks of a user live by default: one for all of the user's processes on this machine, whatever
/// their environment, with and without a login. That it is this user's alone, the driver checks.
fn directory(user: u32) -> Result<String, Failure> {
    match user {
        0 => Ok("/run/fairlock".to_owned()),
        _ if has_private_files(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) => {
            let reason = format!(
                "this service has a {TEMPORARY} of its own (PrivateTmp=), where nobody else sees its locks: {WAY_OUT}"
            );
            Err(Failure::new(CONFIG, reason))
        }
        _ => Ok(format!("{TEMPORARY}/fairlock-{user}")),
    }
}

/// Where every user may make a directory, which outlives reboots and logins.
const TEMPORARY: &str = "/var/tmp";

const WAY_OUT: &str = "name a directory with --url file:///PATH";

/// Whether systemd gave this process a directory for temporary files that others do not see, by its mounts:
/// proc_pid_mountinfo(5).
fn has_private_files(mounts: &str) -> bool {
    mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(3);
        let (from, to) = (fields.next().unwrap_or_default(), fields.next());
        to == Some(TEMPORARY) && from.contains("/systemd-private-")
    })
}

pub(crate) async fn connect(url: Option<&str>) -> Result<Arc<dyn LockService>, Failure> {
    let Some(url) = url else {
        let connected = fairlock::connect(place(None)?).await;
        let during = format!("the default place cannot be used, {WAY_OUT}");
        return connected.map_err(|error| Failure::from(error).during(&during));
    };
    Ok(fairlock::connect(Config::new(url).with_env_options()?).await?)
}

/// Connects for those who only look: a directory that is not there is no place where anybody has locks, and not made.
async fn look(url: Option<&str>) -> Result<Arc<dyn LockService>, Failure> {
    if let Some(missing) = url.map(shown).transpose()?.and_then(|url| missing_directory(&url)) {
        return Err(Failure::new(CONFIG, format!("the directory {} does not exist", missing.display())));
    }
    connect(url).await
}

/// What somebody finds who only [looks](look).
pub(crate) async fn looking<T>(
    url: Option<&str>,
    work: impl AsyncFnOnce(&dyn LockService) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let service = look(url).await?;
    let found = work(&*service).await;
    close(&*service).await;
    found
}

/// The directory that this URL names, if it is not there.
fn missing_directory(url: &LockUrl) -> Option<PathBuf> {
    let here = url.scheme() == "file" && url.hosts().is_empty();
    let directory = here.then(|| PathBuf::from(url.path()))?;
    directory.try_exists().is_ok_and(|exists| !exists).then_some(directory)
}

/// Fails where no other process shares the locks: a program under one would have it to itself.
pub(crate) fn check_shared(service: &dyn LockService) -> Result<(), Failure> {
    if service.capabilities().interprocess {
        return Ok(());
    }
    let message = "no other process shares these locks: run needs a directory or a server, \
                   for example --url file:///var/lib/app/locks or --url zookeeper://localhost:2181";
    Err(Failure::new(CONFIG, message))
}

/// How the place is shown to people: without secrets.
pub(crate) fn shown(url: &str) -> Result<LockUrl, Failure> {
    Ok(url.parse()?)
}

/// Waits for the lock without limit.
pub(crate) async fn acquire(
    lock: &dyn DistributedLock,
    options: &AcquireOptions,
) -> Result<LockGuard, Failure> {
    let guard = lock.acquire_with(options).await?;
    guard.ok_or_else(|| Failure::new(NOT_IN_TIME, "a wait without limit ended without the lock"))
}

/// Gives a lock back that has to be held until now.
pub(crate) async fn release(guard: LockGuard) -> Result<(), Failure> {
    match guard.release().await? {
        Released::Held => Ok(()),
        Released::Lost(loss) => Err(Error::lost(loss).into()),
    }
}

/// Ends the sessions, all at once.
pub(crate) async fn close_all(services: &[Arc<dyn LockService>]) {
    futures::future::join_all(services.iter().map(|service| close(&**service))).await;
}

/// Ends the session, so that nobody has to wait for it to expire; but not at any price.
pub(crate) async fn close(service: &dyn LockService) {
    const PATIENCE: Duration = Duration::from_secs(2);
    match tokio::time::timeout(PATIENCE, service.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let _ = Failure::from(error).during("the session will end by itself").report();
        }
        Err(_) => output::diagnostic("the session will end by itself: no answer from the service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_one_place() {
        assert_eq!(directory(0).unwrap(), "/run/fairlock");
        assert_eq!(directory(1000).unwrap(), "/var/tmp/fairlock-1000");
    }

    #[test]
    fn temporary_files_that_others_do_not_see_are_noticed() {
        for (mount, private) in [
            ("36 35 98:0 / / rw,noatime master:1 - ext4 /dev/vda rw", false),
            ("36 35 98:0 /@/var/tmp /var/tmp rw,noatime master:1 - btrfs /dev/vda rw", false),
            ("36 35 98:0 /tmp/systemd-private-1-a.service-2/tmp /tmp rw - ext4 /dev/vda rw", false),
            (
                "36 35 98:0 /var/tmp/systemd-private-1-a.service-2/tmp /var/tmp rw master:1 - ext4 /dev/vda rw",
                true,
            ),
        ] {
            assert_eq!(has_private_files(mount), private, "{mount}");
        }
    }
}
