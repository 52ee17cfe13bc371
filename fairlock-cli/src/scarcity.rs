//! What fails for want of open files, processes or memory, which others may give back.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use crate::arguments::Wanted;
use crate::exit::Failure;
use crate::output;

/// Whether an error, or what caused it, is such a want.
pub(crate) fn is_scarcity(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    causes.any(|cause| {
        let errno = cause.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM))
    })
}

/// Tries it again as long as the lock would be waited for.
pub(crate) async fn patiently<T>(
    wanted: &Wanted,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    const PAUSE: Duration = Duration::from_millis(50);
    let until = wanted.patience().map(|patience| Instant::now() + patience);
    let mut told = wanted.quiet;
    loop {
        let failure = match attempt().await {
            Err(failure) if failure.is_scarcity() => failure,
            ended => return ended,
        };
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(failure);
        }
        if !std::mem::replace(&mut told, true) {
            output::diagnostic(format_args!("{failure}; trying again"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
