//! PURE: what a session is told when a departure lets in entries of its.

use std::fmt;

use crate::layout::{Position, Slot, revision};

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
    /// The message, unless it says nothing. What cannot be understood is left out, and all that comes after it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let holders: Vec<i64> = text.split(' ').map_while(revision).collect();
        let mut last = *holders.last()?;
        let behind = text.split(' ').skip(holders.len()).map_while(|next| {
            let (slot, later) = next.rsplit_once('+')?;
            last = last.checked_add(revision(later)?)?;
            Some(Position { slot: Slot::parse(slot)?, created: last })
        });
        Some(Self { behind: behind.collect(), holders })
    }
}

/// The revisions of the holders; and for each of the others its slot, and by how much its revision is later than the one
/// before.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut last, mut separator) = (0, "");
        for created in &self.holders {
            write!(f, "{separator}{created}")?;
            (last, separator) = (*created, " ");
        }
        for next in &self.behind {
            write!(f, " {}+{}", next.slot, next.created - last)?;
            last = next.created;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lockcore::EntryKind;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_makes_no_sense_says_nothing() {
        for text in ["", " ", "garbage", "-1", "01", "ex-1-2+3", "/fairlock/lock/a/0-0-ex@12"] {
            assert_eq!(Message::parse(text), None, "{text}");
        }
        let known = Message::parse("5 7 ex-1-2+2 garbage ex-1-3+1").unwrap();
        let next = Position { slot: Slot { session: 1, number: 2, kind: EntryKind::Exclusive }, created: 9 };
        assert_eq!(known, Message { holders: vec![5, 7], behind: vec![next] });
        assert_eq!(known.to_string(), "5 7 ex-1-2+2");
        assert_eq!(Message::parse("9223372036854775807 ex-1-2+1").unwrap().behind, []);
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            holders in prop::collection::vec(0..1i64 << 40, 1..4),
            behind in prop::collection::vec((any::<u64>(), any::<u64>(), 0..1i64 << 40), 0..9),
        ) {
            let mut created = holders[holders.len() - 1];
            let positions = behind.into_iter().map(|(session, number, later)| {
                created += later;
                Position { slot: Slot { session, number, kind: EntryKind::Exclusive }, created }
            });
            let message = Message { behind: positions.collect(), holders };
            prop_assert_eq!(Message::parse(&message.to_string()), Some(message));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            Message::parse(&text);
        }
    }
}
