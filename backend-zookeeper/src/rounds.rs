//! Requests that many want at once.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lockcore::Result;

/// A request, and all who wait for its answer.
pub(crate) type Round<T> = Shared<BoxFuture<'static, Result<T>>>;

/// A request that is sent again and again: whoever asks before the next is sent has its answer. A thousand waiters that
/// come at once would otherwise read a thousand lists of a thousand names.
pub(crate) struct Rounds<T> {
    last: Option<(Arc<AtomicBool>, Round<T>)>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<T> fmt::Debug for Rounds<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Rounds<T> {
    /// The answer to a request that is sent after this call: to `request`, or to one that others wait for already.
    pub(crate) fn join(&mut self, request: impl Future<Output = Result<T>> + Send + 'static) -> Round<T> {
        if let Some((_, round)) = self.last.as_ref().filter(|(sent, _)| !sent.load(Ordering::SeqCst)) {
            return round.clone();
        }
        let (previous, sent) = (self.last.take(), Arc::new(AtomicBool::new(false)));
        let sending = sent.clone();
        let round = async move {
            if let Some((_, previous)) = previous {
                let _ = previous.await;
            }
            sending.store(true, Ordering::SeqCst);
            request.await
        };
        let round = round.boxed().shared();
        self.last = Some((sent, round.clone()));
        round
    }
}
