//! PURE: what a session is told when a departure lets in entries of its.

use std::fmt;

use crate::layout::{Position, revision};

/// These entries hold; and who stands behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The revisions at which they were created: no other entry has the same.
    pub(crate) holders: Vec<i64>,
    /// Those directly behind the last of them, in the order of the queue, as far as they are known. They may have left
    /// since, but nobody can have come between them: whoever comes is behind all others.
    pub(crate) behind: Vec<Position>,
}

impl Message {
    /// The message, unless it says nothing. What cannot be understood is left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let holders: Vec<i64> = text.split(' ').map_while(revision).collect();
        let behind = text.split(' ').skip(holders.len()).map_while(Position::parse).collect();
        (!holders.is_empty()).then_some(Self { holders, behind })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self.holders.iter().map(ToString::to_string);
        let behind = self.behind.iter().map(ToString::to_string);
        f.write_str(&holders.chain(behind).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use lockcore::EntryKind;
    use proptest::prelude::*;

    use super::*;
    use crate::layout::Slot;

    #[test]
    fn what_makes_no_sense_says_nothing() {
        for text in ["", " ", "nonsense", "-1", "01", "ex-1-2@3", "/fairlock/lock/a/0-0-ex@12"] {
            assert_eq!(Message::parse(text), None, "{text}");
        }
        let known = Message::parse("7 ex-1-2@9 nonsense ex-1-3@11").unwrap();
        assert_eq!(known.to_string(), "7 ex-1-2@9");
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            holders in prop::collection::vec(0..i64::MAX, 1..4),
            behind in prop::collection::vec((any::<u64>(), any::<u64>(), 0..i64::MAX), 0..9),
        ) {
            let position = |(session, number, created)| {
                Position { slot: Slot { session, number, kind: EntryKind::Exclusive }, created }
            };
            let message = Message { holders, behind: behind.into_iter().map(position).collect() };
            prop_assert_eq!(Message::parse(&message.to_string()), Some(message));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            Message::parse(&text);
        }
    }
}
