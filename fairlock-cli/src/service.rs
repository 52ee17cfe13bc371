//! The service that the commands work with.

use std::sync::Arc;
use std::time::Duration;

use fairlock::{Config, LockService};

use crate::exit::{Failure, USAGE};
use crate::output;

/// The URL, which there must be.
pub(crate) fn required(url: Option<&str>) -> Result<&str, Failure> {
    url.ok_or_else(|| {
        let message = format!(
            "no URL: give --url or set {}, for example --url zookeeper://localhost:2181",
            Config::ENV
        );
        Failure::new(USAGE, message)
    })
}

pub(crate) async fn connect(url: Option<&str>) -> Result<Arc<dyn LockService>, Failure> {
    Ok(fairlock::connect(required(url)?).await?)
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
