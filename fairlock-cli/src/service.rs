//! The service that the commands work with.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlock::{LockService, LockUrl};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::process::geteuid;

use crate::exit::Failure;
use crate::output;

/// The URL that was given, or else a directory of this machine.
pub(crate) fn place(url: Option<&str>) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
    url.map_or_else(
        || format!("file://{}", percent_encode(directory().as_os_str().as_bytes(), ESCAPED)),
        str::to_owned,
    )
}

/// The directory where the locks of this user live by default. That it is this user's alone, the driver checks.
fn directory() -> PathBuf {
    let user = geteuid().as_raw();
    // Without a login shell the variable is missing, and after `su` it is another user's.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates = runtime.into_iter().chain([format!("/run/user/{user}").into()]);
    let is_ours = |path: &PathBuf| {
        let metadata = path.metadata();
        path.is_absolute() && metadata.is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
    };
    let ours = candidates.into_iter().find(is_ours);
    ours.map_or_else(|| format!("/tmp/fairlock-{user}").into(), |runtime| runtime.join("fairlock"))
}

pub(crate) async fn connect(url: Option<&str>) -> Result<Arc<dyn LockService>, Failure> {
    Ok(fairlock::connect(&*place(url)).await?)
}

/// How the place is shown to people: without secrets.
pub(crate) fn shown(url: &str) -> Result<LockUrl, Failure> {
    Ok(url.parse()?)
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
