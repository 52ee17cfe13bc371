//! Elections: the candidates are the queue of an exclusive lock, and its holder leads.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::{BoxStream, unfold};

use crate::entry::{EntryId, EntryKind, FencingToken};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::DistributedLock;
use crate::loss_signal::HeldLock;
use crate::name::LockName;
use crate::options::AcquireOptions;
use crate::queue_view::QueueEntry;
use crate::recipes::leadership::Leadership;

/// An election: who wants to lead stands in the queue of the exclusive lock of its name, and who holds that leads. Candidates come to
/// lead in the order in which they came.
///
/// # Examples
///
/// ```
/// use std::ops::ControlFlow;
/// use lockcore::{LockService, LockServiceExt};
///
/// async fn serve(locks: &dyn LockService) -> lockcore::Result<()> {
///     let election = locks.election("scheduler")?;
///     if let Some(leader) = election.leader().await? {
///         println!("{} leads, in term {}", leader.value, leader.term);
///     }
///     // Leads whenever it is our turn, until this future is dropped.
///     election
///         .lead("10.0.0.7:8080", |leadership| async move {
///             schedule(leadership.fencing_token()).await;
///             ControlFlow::<()>::Continue(())
///         })
///         .await
/// }
/// # async fn schedule(_term: lockcore::FencingToken) {}
/// ```
#[derive(Debug, Clone)]
pub struct Election {
    lock: Arc<dyn DistributedLock>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The number of its leadership, which grows from leader to leader: its fencing token.
    pub term: FencingToken,
    /// What it campaigned with, such as an address.
    pub value: String,
    /// Who it is, for people.
    pub label: String,
    /// When it became a candidate, where known.
    pub candidate_since: Option<SystemTime>,
    id: EntryId,
}

impl Leader {
    /// The leader that this entry is, if it is one: others may hold the lock as well.
    fn of(entry: QueueEntry) -> Option<Self> {
        let QueueEntry { holds: true, kind: EntryKind::Exclusive, id, token, label, value, since, .. } =
            entry
        else {
            return None;
        };
        Some(Self { term: token, value: value?, label, candidate_since: since, id })
    }
}

impl Election {
    pub(super) fn new(lock: Arc<dyn DistributedLock>) -> Self {
        Self { lock }
    }

    /// Its name.
    pub fn name(&self) -> &LockName {
        self.lock.name()
    }

    /// The lock in whose queue the candidates stand.
    pub fn lock(&self) -> &Arc<dyn DistributedLock> {
        &self.lock
    }

    /// Waits until it is our turn to lead, for ever. Others see the value, at most 512 bytes.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquire_with`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it withdraws the candidate.
    pub async fn campaign(&self, value: impl AsRef<str>) -> Result<Leadership> {
        let elected = self.campaign_with(value, &AcquireOptions::new()).await?;
        elected
            .ok_or_else(|| Error::new(ErrorKind::Backend, "a campaign without limit ended without a result"))
    }

    /// Waits as the options say until it is our turn to lead; `None` if it was not in time.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquire_with`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it withdraws the candidate.
    pub async fn campaign_with(
        &self,
        value: impl AsRef<str>,
        options: &AcquireOptions,
    ) -> Result<Option<Leadership>> {
        let options = options.clone().with_value(value);
        Ok(self.lock.acquire_with(&options).await?.map(|guard| Leadership { guard }))
    }

    /// Who leads now; `None` if nobody does, also if the lock is held by somebody who is no candidate.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::queue`].
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        Ok(self.look().await?.1)
    }

    /// The first entry of the queue, and the leader that it may be.
    async fn look(&self) -> Result<(Option<EntryId>, Option<Leader>)> {
        let head = self.lock.queue().await?.into_iter().next();
        let id = head.as_ref().map(|head| head.id.clone());
        Ok((id, head.and_then(Leader::of)))
    }

    /// Who leads, now and whenever that changes; `None` for nobody. Terms only rise: what a server tells late is left out. A leader who
    /// leads for a short time only may be missed.
    ///
    /// Outages are waited through. What waiting cannot cure, such as [`PermissionDenied`](ErrorKind::PermissionDenied) or
    /// [`Closed`](ErrorKind::Closed), is the last item. Dropping the stream ends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    ///
    /// async fn follow(election: &lockcore::Election) -> lockcore::Result<()> {
    ///     let mut leaders = election.observe();
    ///     while let Some(leader) = leaders.next().await {
    ///         match leader? {
    ///             Some(leader) => println!("ask {}", leader.value),
    ///             None => println!("nobody leads"),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn observe(&self) -> BoxStream<'static, Result<Option<Leader>>> {
        let observer = Observer { election: self.clone(), seen: None, head: None, term: None };
        unfold(Some(observer), |observer| async {
            let mut observer = observer?;
            match observer.next().await {
                Ok(leader) => Some((Ok(leader), Some(observer))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    /// Leads whenever it is our turn: campaigns, does the work, resigns, campaigns again. Ends when the work breaks off with a result, or
    /// when this future is dropped.
    ///
    /// The work's future is dropped when the leadership is lost. We resign only after the work has ended, or has been dropped; then
    /// nobody else leads while it runs. Only what the future has handed to others (a spawned task, a blocking thread) it has to wait for
    /// itself, or to stop when it is dropped.
    ///
    /// # Errors
    ///
    /// What a campaign cannot cure by waiting: those of [`DistributedLock::acquire_with`] that are not
    /// [worth repeating](Error::is_retryable).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the work's future first, and then resigns in the background.
    pub async fn lead<T, F, Fut>(&self, value: impl AsRef<str> + Send, work: F) -> Result<T>
    where
        F: FnMut(HeldLock) -> Fut + Send,
        Fut: Future<Output = ControlFlow<T>> + Send,
        T: Send,
    {
        let led = self.lead_until(value, std::future::pending(), work).await?;
        led.ok_or_else(|| Error::new(ErrorKind::Backend, "leading ended although nobody asked for it"))
    }

    /// Like [`lead`](Self::lead), until `stop` is ready: then the work is dropped, we resign, and that is waited for. `None` if it was
    /// stopped so.
    ///
    /// # Errors
    ///
    /// Those of [`lead`](Self::lead).
    ///
    /// # Cancel safety
    ///
    /// That of [`lead`](Self::lead).
    pub async fn lead_until<T, F, Fut>(
        &self,
        value: impl AsRef<str> + Send,
        stop: impl Future<Output = ()> + Send,
        mut work: F,
    ) -> Result<Option<T>>
    where
        F: FnMut(HeldLock) -> Fut + Send,
        Fut: Future<Output = ControlFlow<T>> + Send,
        T: Send,
    {
        let mut stop = pin!(stop);
        loop {
            let elected = tokio::select! {
                biased;
                () = &mut stop => return Ok(None),
                elected = self.campaign(value.as_ref()) => elected,
            };
            let leadership = match elected {
                Ok(leadership) => leadership,
                Err(error) if error.is_retryable() => {
                    pause(&error).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // What is selected from is dropped before we go on, and with it the work.
            let done = tokio::select! {
                biased;
                () = &mut stop => Some(None),
                done = leadership.guard.protect(work(leadership.guard.held())) => match done {
                    Ok(ControlFlow::Break(result)) => Some(Some(result)),
                    Ok(ControlFlow::Continue(())) | Err(_) => None,
                },
            };
            if let Err(error) = leadership.resign().await {
                tracing::warn!(name = %self.name(), %error, "resigned, but the server did not confirm it");
            }
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }
}

/// Before the next try, when something went wrong that may pass.
async fn pause(error: &Error) {
    const PAUSE: Duration = Duration::from_secs(1);
    tracing::debug!(%error, "trying again");
    tokio::time::sleep(PAUSE).await;
}

/// What an observer has told.
struct Observer {
    election: Election,
    /// Who led, when it was told last; `None` before anything was told.
    seen: Option<Option<EntryId>>,
    /// The first entry of the queue when it was looked at last.
    head: Option<EntryId>,
    /// The highest term that was told.
    term: Option<FencingToken>,
}

impl Observer {
    /// The next change; at first, how it is.
    async fn next(&mut self) -> Result<Option<Leader>> {
        loop {
            if self.seen.is_some() {
                persist(|| self.election.lock.head_changed(self.head.as_ref())).await?;
            }
            let (head, leader) = persist(|| self.election.look()).await?;
            self.head = head;
            if self.is_news(leader.as_ref()) {
                self.seen = Some(leader.as_ref().map(|leader| leader.id.clone()));
                self.term = leader.as_ref().map(|leader| leader.term).max(self.term);
                return Ok(leader);
            }
        }
    }

    /// Whether it is another than was told last, and no former one.
    fn is_news(&self, leader: Option<&Leader>) -> bool {
        let another = self.seen.as_ref() != Some(&leader.map(|leader| leader.id.clone()));
        another && leader.is_none_or(|leader| self.term.is_none_or(|term| leader.term > term))
    }
}

/// Asks until there is an answer, or an error that repeating does not cure.
async fn persist<T, Fut: Future<Output = Result<T>>>(ask: impl Fn() -> Fut) -> Result<T> {
    loop {
        match ask().await {
            Err(error) if error.is_retryable() => pause(&error).await,
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::guard::LockGuard;
    use crate::lock_kind::LockKind;
    use crate::queue_view::QueueView;

    /// A lock of which nothing is asked.
    #[derive(Debug)]
    struct Unasked(LockName);

    #[async_trait]
    impl DistributedLock for Unasked {
        fn name(&self) -> &LockName {
            &self.0
        }

        fn kind(&self) -> LockKind {
            LockKind::Exclusive
        }

        async fn acquire_with(&self, _: &AcquireOptions) -> Result<Option<LockGuard>> {
            unreachable!()
        }

        fn options(&self) -> &AcquireOptions {
            unreachable!()
        }

        fn with_options(&self, _: AcquireOptions) -> Arc<dyn DistributedLock> {
            unreachable!()
        }

        async fn queue(&self) -> Result<QueueView> {
            unreachable!()
        }

        async fn acquirable(&self) -> Result<bool> {
            unreachable!()
        }
    }

    fn leader(term: u64) -> Leader {
        let (value, label, id) = ("v".to_owned(), String::new(), EntryId::from(&*term.to_string()));
        Leader { term: FencingToken::new(term), value, label, candidate_since: None, id }
    }

    #[test]
    fn a_former_leader_is_no_news() {
        let election = Election::new(Arc::new(Unasked(LockName::new("x").expect("a name"))));
        let seen = Some(Some(EntryId::from("5")));
        let mut observer = Observer { election, seen, head: None, term: Some(FencingToken::new(5)) };
        assert!(!observer.is_news(Some(&leader(5))), "it was told");
        assert!(!observer.is_news(Some(&leader(4))), "a server that lags behind shows the leader before");
        assert!(observer.is_news(Some(&leader(6))));
        assert!(observer.is_news(None));
        observer.seen = Some(None);
        assert!(!observer.is_news(None), "it was told");
        assert!(!observer.is_news(Some(&leader(5))), "a term that is over does not come back");
        assert!(observer.is_news(Some(&leader(6))));
    }
}
