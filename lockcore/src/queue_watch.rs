//! A queue that is followed.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::backend::UNWATCHED;
use crate::error::Result;
use crate::lock::DistributedLock;
use crate::queue_view::QueueView;

/// The [views](QueueView) of one queue, each different from the one before: a stream that does not end.
///
/// Another first entry is told by the server where the [backend can be](DistributedLock::head_changed), everything else is seen within
/// a second. What comes and goes between two views is not seen.
pub struct QueueWatch {
    views: BoxStream<'static, Result<QueueView>>,
}

impl QueueWatch {
    pub(crate) fn new(lock: Arc<dyn DistributedLock>) -> Self {
        let views = stream::unfold(Watcher { lock, last: Last::Nothing }, |mut watcher| async move {
            let view = watcher.next().await;
            Some((view, watcher))
        });
        Self { views: views.boxed() }
    }

    /// The queue, as soon as it is another than last time; at once the first time.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::queue`]. The next call asks again, after a second.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again: no change is lost by that.
    pub async fn next(&mut self) -> Result<QueueView> {
        match self.views.next().await {
            Some(view) => view,
            None => std::future::pending().await,
        }
    }
}

impl Stream for QueueWatch {
    type Item = Result<QueueView>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.views.poll_next_unpin(cx)
    }
}

impl fmt::Debug for QueueWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWatch").finish_non_exhaustive()
    }
}

struct Watcher {
    lock: Arc<dyn DistributedLock>,
    last: Last,
}

/// What came of looking the last time.
enum Last {
    Nothing,
    Saw(QueueView),
    Failed,
}

impl Watcher {
    async fn next(&mut self) -> Result<QueueView> {
        loop {
            match &self.last {
                Last::Nothing => {}
                Last::Saw(view) => {
                    let head = view.first().map(|entry| &entry.id);
                    // How that ends does not matter: the queue is looked at in any case.
                    let _ = tokio::time::timeout(UNWATCHED, self.lock.head_changed(head)).await;
                }
                Last::Failed => tokio::time::sleep(UNWATCHED).await,
            }
            let view = self.lock.queue().await.inspect_err(|_| self.last = Last::Failed)?;
            if !matches!(&self.last, Last::Saw(last) if *last == view) {
                self.last = Last::Saw(view.clone());
                return Ok(view);
            }
        }
    }
}
