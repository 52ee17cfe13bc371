//! Who watches that the executors of `fairlock demo` take turns.

use fairlock::{FencingToken, QueueEntry};

/// Once through the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) executor: u32,
    pub(crate) task: u32,
}

/// Notes down every grant, and everything that should not be.
///
/// That grants follow the queue takes two observations: tokens rise along the queue, and from grant to grant.
#[derive(Debug, Default)]
pub(crate) struct TurnChecker {
    holder: Option<FencingToken>,
    last: Option<FencingToken>,
    grants: u32,
    violations: Vec<String>,
}

impl TurnChecker {
    /// Somebody was granted the lock. Returns the line to print.
    pub(crate) fn enter(&mut self, Turn { executor, task }: Turn, token: FencingToken) -> String {
        if let Some(holder) = self.holder.replace(token) {
            self.violated(format!("token {token} was granted while token {holder} held"));
        }
        if let Some(last) = self.last.replace(token).filter(|last| *last >= token) {
            self.violated(format!("token {token} was granted after token {last}"));
        }
        self.grants += 1;
        format!("grant {}  executor {executor}  task {task}  token {token}", self.grants)
    }

    /// What the queue looks like while this token holds.
    pub(crate) fn see(&mut self, holder: FencingToken, queue: &[QueueEntry]) {
        let holding: Vec<FencingToken> =
            queue.iter().filter(|entry| entry.holds).map(|entry| entry.token).collect();
        if holding != [holder] {
            self.violated(format!("token {holder} was granted, but the queue says that {holding:?} hold"));
        }
        let tokens: Vec<FencingToken> = queue.iter().map(|entry| entry.token).collect();
        if !tokens.is_sorted_by(|earlier, later| earlier < later) {
            self.violated(format!("the tokens do not rise along the queue: {tokens:?}"));
        }
    }

    /// The holder is about to give the lock back.
    pub(crate) fn leave(&mut self) {
        self.holder = None;
    }

    pub(crate) fn grants(&self) -> u32 {
        self.grants
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }
}

#[cfg(test)]
mod tests {
    use fairlock::{EntryId, EntryKind, FencingToken, QueueEntry};
    use lockcore::EntryDetails;

    use super::{Turn, TurnChecker};

    const TURN: Turn = Turn { executor: 1, task: 1 };

    fn token(value: u64) -> FencingToken {
        FencingToken::new(value)
    }

    fn queue(kind: EntryKind, tokens: &[u64]) -> Vec<QueueEntry> {
        let entry = |value: &u64| EntryDetails {
            id: EntryId::random(),
            kind,
            token: token(*value),
            label: String::new(),
            since: None,
        };
        fairlock::QueueView::new(tokens.iter().map(entry).collect(), fairlock::LockKind::Exclusive).entries
    }

    #[test]
    fn turns_in_order_are_fine() {
        let mut checker = TurnChecker::default();
        assert_eq!(checker.enter(TURN, token(3)), "grant 1  executor 1  task 1  token 3");
        checker.see(token(3), &queue(EntryKind::Exclusive, &[3, 4]));
        checker.leave();
        checker.enter(TURN, token(4));
        assert_eq!((checker.grants(), checker.violations()), (2, &[][..]));
    }

    #[test]
    fn two_at_once_are_seen() {
        let mut checker = TurnChecker::default();
        checker.enter(TURN, token(3));
        checker.enter(TURN, token(4));
        assert_eq!(checker.violations(), ["token 4 was granted while token 3 held"]);
    }

    #[test]
    fn overtaking_is_seen() {
        let mut checker = TurnChecker::default();
        for value in [4, 3] {
            checker.enter(TURN, token(value));
            checker.leave();
        }
        assert_eq!(checker.violations(), ["token 3 was granted after token 4"]);
    }

    #[test]
    fn a_queue_that_disagrees_is_seen() {
        for (kind, tokens) in
            [(EntryKind::Exclusive, [4, 5]), (EntryKind::Shared, [3, 4]), (EntryKind::Exclusive, [3, 2])]
        {
            let mut checker = TurnChecker::default();
            checker.enter(TURN, token(3));
            checker.see(token(3), &queue(kind, &tokens));
            assert_eq!(checker.violations().len(), 1, "{kind} {tokens:?}");
        }
    }
}
