//! The spans in which locks are acquired, held and given back. The names of their fields are promised in `docs/observability.md`.

use std::time::Instant;

use tracing::Span;
use tracing::field::Empty;

use crate::entry::{FencingToken, LockKey};
use crate::lock_kind::LockKind;

/// What is said of a lock and its owner in each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) lock: &'a LockKey,
    pub(super) kind: LockKind,
    pub(super) label: &'a str,
    pub(super) place: &'a str,
}

macro_rules! span {
    ($name:literal, $subject:expr) => {{
        let Subject { lock, kind, label, place } = $subject;
        tracing::info_span!(
            $name,
            lock.name = lock.name.as_str(),
            lock.kind = %kind,
            lock.label = label,
            lock.token = Empty,
            fairlock.backend = place,
            wait_ms = Empty,
        )
    }};
}

impl<'a> Subject<'a> {
    /// From the call to the grant, or the end without one.
    pub(super) fn acquisition(self) -> Acquisition<'a> {
        let span = span!("fairlock.acquire", self);
        let since = (!span.is_disabled()).then(Instant::now);
        Acquisition { subject: self, span, since }
    }

    /// From the grant until the lock is given back.
    fn hold(self) -> Span {
        span!("fairlock.hold", self)
    }
}

/// The span of an acquisition.
pub(super) struct Acquisition<'a> {
    subject: Subject<'a>,
    pub(super) span: Span,
    /// Unless nobody looks.
    since: Option<Instant>,
}

impl Acquisition<'_> {
    /// It is over; the span of the hold, if it was granted.
    pub(super) fn ends(self, token: Option<FencingToken>) -> Span {
        if let Some(since) = self.since {
            let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.span.record("wait_ms", waited);
        }
        let Some(token) = token else { return Span::none() };
        self.span.record("lock.token", token.get());
        let hold = self.subject.hold();
        hold.record("lock.token", token.get());
        hold
    }
}

/// While a lock is being given back that was held in this span.
pub(super) fn release(hold: &Span, lock: &LockKey, token: FencingToken, place: &str) -> Span {
    tracing::info_span!(
        parent: hold,
        "fairlock.release",
        lock.name = lock.name.as_str(),
        lock.token = token.get(),
        fairlock.backend = place,
    )
}
