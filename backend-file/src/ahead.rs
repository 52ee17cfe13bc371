//! PURE: what is known of the entries ahead of one, without a reading of the directory.
//!
//! Whoever is ahead can only leave, and nobody comes between. So what was known once stays true, but that some of them are
//! gone meanwhile: those that matter are asked.

use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, Revision};

use crate::layout::{Node, entries, node};

/// The entries ahead of one, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// In order; some may be dead. Of those that live and are younger than the first of them none is missing.
    nodes: Vec<Node>,
    /// Nor is an older one.
    all: bool,
    /// But shared ones may be missing anywhere.
    gap: bool,
}

/// How many entries are remembered, so that their names fit into a page; few in tests, which then have fewer to make.
const MOST: usize = if cfg!(test) { 4 } else { 48 };

const ALL: &str = "all";
const SOME: &str = "some";
const GAP: &str = " gap";

impl Ahead {
    /// These, and no others.
    pub(crate) fn all(nodes: Vec<Node>) -> Self {
        Self { nodes, all: true, gap: false }
    }

    /// The ticket of the last of them; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.nodes.last().map_or(0, |last| last.ticket)
    }

    /// The first of them.
    pub(crate) fn oldest(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// Where an entry stands behind them; `None` if too little is known for that.
    pub(crate) fn standing(&self, own: &Node) -> Option<Standing> {
        let standing = standing(entries(self.nodes.iter().chain([own])), &own.id, Revision::default());
        let known = self.all && (!self.gap || own.kind == EntryKind::Shared);
        (known || standing != Standing::Holds).then_some(standing)
    }

    /// Those of them that make an entry stand like this.
    pub(crate) fn decisive(&self, standing: &Standing) -> Vec<Node> {
        let wake =
            |ids: &[EntryId]| self.nodes.iter().filter(|node| ids.contains(&node.id)).cloned().collect();
        match standing {
            Standing::Absent | Standing::Holds => Vec::new(),
            Standing::Waits { wake: ids, .. } => wake(ids),
            Standing::LimitMismatch { theirs } => {
                self.nodes.iter().find(|node| node.kind.limit() == *theirs).cloned().into_iter().collect()
            }
        }
    }

    /// One of them is gone. It may have come again meanwhile, with another ticket, and that one is not gone.
    pub(crate) fn forget(&mut self, gone: &Node) {
        self.nodes.retain(|node| node != gone);
    }

    /// One of them is gone, and left what it knew of those ahead of itself.
    pub(crate) fn learn(&mut self, gone: &Node, left: Self) {
        let reaches = self.all || self.nodes.first().is_some_and(|first| first.ticket <= gone.ticket);
        if !reaches || self.all && !left.all {
            return self.forget(gone);
        }
        let younger = self.nodes.iter().position(|node| node.ticket > gone.ticket);
        let between = self.nodes.split_off(younger.unwrap_or(self.nodes.len()));
        *self = Self { gap: self.gap || left.gap, ..left };
        self.nodes.extend(between);
    }

    /// What whoever comes after this entry has to know.
    pub(crate) fn followed_by(mut self, own: Node) -> Self {
        self.nodes.push(own);
        if self.nodes.len() > MOST {
            let kept = self.nodes.split_off(self.nodes.len() - MOST / 2);
            let dropped = std::mem::replace(&mut self.nodes, kept);
            self.all = false;
            // A shared entry waits for it, whichever shared ones are between.
            if let Some(last) = dropped.iter().rposition(|node| node.kind == EntryKind::Exclusive) {
                self.gap |= last + 1 < dropped.len();
                self.nodes.insert(0, dropped[last].clone());
            }
        }
        self
    }

    /// Forgets what the owner of an entry does not have to know that waits for none older than this one.
    pub(crate) fn reduce(&mut self, oldest: Option<u64>, own: &Node) {
        let older = oldest.map_or(0, |oldest| self.nodes.partition_point(|node| node.ticket < oldest));
        self.all &= older == 0;
        self.nodes.drain(..older);
        if self.nodes.len() > MOST && own.kind == EntryKind::Shared {
            self.nodes.retain(|node| node.kind == EntryKind::Exclusive);
            self.gap = true;
        }
    }

    /// As text that [`parse`](Self::parse) reads; `None` if it is too long.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = if self.all { ALL } else { SOME }.to_owned() + if self.gap { GAP } else { "" } + "\n";
        for node in &self.nodes {
            text += &node.name;
            text += "\n";
        }
        (self.nodes.len() <= MOST).then(|| text + "\n")
    }

    /// What is written there; whatever follows is none of it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (header, rest) = text.split_once('\n')?;
        let (header, gap) = header.strip_suffix(GAP).map_or((header, false), |header| (header, true));
        let all = [(ALL, true), (SOME, false)].into_iter().find(|(word, _)| *word == header)?.1;
        let mut lines = rest.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
        let mut nodes = Vec::new();
        loop {
            match lines.next()?? {
                "" => break,
                name => nodes.push(node(name.to_owned())?),
            }
        }
        nodes.is_sorted_by_key(|node| node.ticket).then_some(Self { nodes, all, gap })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use lockcore::Entry;
    use lockcore::queue::rule::holders;
    use proptest::prelude::*;

    use super::*;

    /// A queue, and what each of its entries knows.
    #[derive(Default)]
    struct World {
        living: Vec<Node>,
        remembered: Ahead,
        waiting: HashMap<EntryId, (Ahead, Vec<Node>)>,
        /// Entries whose attempts to come were in vain, though their names are remembered, and which will try again.
        vain: Vec<Entry>,
        /// How often a directory was read.
        readings: usize,
        last: u64,
    }

    impl World {
        /// As a queue does it.
        fn stand(&mut self, own: &Node, mut ahead: Ahead) -> (Standing, Ahead, Vec<Node>) {
            loop {
                let Some(standing) = ahead.standing(own) else {
                    let older = self.living.iter().filter(|node| node.ticket < own.ticket);
                    ahead = Ahead::all(older.cloned().collect());
                    self.readings += 1;
                    continue;
                };
                let decisive = ahead.decisive(&standing);
                let dead: Vec<_> = decisive.iter().filter(|node| !self.living.contains(node)).collect();
                if dead.is_empty() {
                    return (standing, ahead, decisive);
                }
                dead.into_iter().for_each(|node| ahead.forget(node));
            }
        }

        fn wait(&mut self, own: &Node, ahead: Ahead) -> Ahead {
            let (_, mut ahead, watched) = self.stand(own, ahead);
            let known = ahead.clone();
            ahead.reduce(watched.first().map(|oldest| oldest.ticket), own);
            self.waiting.insert(own.id.clone(), (ahead, watched));
            known
        }

        fn arrive(&mut self, kind: EntryKind) {
            let again = self.vain.iter().position(|entry| entry.kind == kind);
            let entry = again.map(|again| self.vain.remove(again));
            let own =
                self.append(entry.unwrap_or_else(|| Entry { id: EntryId::random(), kind, label: "".into() }));
            self.living.push(own);
        }

        fn arrive_in_vain(&mut self, kind: EntryKind) {
            let entry = Entry { id: EntryId::random(), kind, label: "".into() };
            let own = self.append(entry.clone());
            self.waiting.remove(&own.id);
            self.vain.push(entry);
        }

        /// The next ticket is remembered as that of this entry.
        fn append(&mut self, entry: Entry) -> Node {
            self.last += 1;
            let own = Node::of(&entry, self.last);
            let remembered = self.remembered.clone();
            let known = self.wait(&own, remembered);
            let remembered = known.followed_by(own.clone());
            self.remembered = Ahead::parse(&remembered.text().unwrap()).unwrap();
            assert_eq!(self.remembered, remembered);
            own
        }

        fn leave(&mut self, index: usize, tells: bool) {
            let gone = self.living.remove(index % self.living.len());
            let (left, _) = self.waiting.remove(&gone.id).unwrap();
            let departure = left.text().filter(|_| tells).and_then(|text| Ahead::parse(&text));
            for own in self.living.clone() {
                let (mut ahead, watched) = self.waiting[&own.id].clone();
                if watched.contains(&gone) {
                    match departure.clone() {
                        Some(left) => ahead.learn(&gone, left),
                        None => ahead.forget(&gone),
                    }
                    self.wait(&own, ahead);
                }
            }
        }

        /// Whoever watches nobody holds, and nobody else.
        fn check(&self) {
            let limit = self.living.first().map_or(0, |node| node.kind.limit());
            let holders = holders(limit, self.living.iter().map(|node| node.kind.weight()));
            for (position, node) in self.living.iter().enumerate() {
                let holds = self.waiting[&node.id].1.is_empty();
                assert_eq!(holds, position < holders, "{position} of {:?}", self.living);
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Move {
        Arrive,
        ArriveInVain,
        Leave { tells: bool },
    }

    fn play(kinds: &[EntryKind], moves: Vec<(Move, usize)>) -> World {
        let mut world = World::default();
        for (next, number) in moves {
            let kind = kinds[number % kinds.len()];
            match next {
                Move::ArriveInVain => world.arrive_in_vain(kind),
                Move::Leave { tells } if !world.living.is_empty() => world.leave(number, tells),
                _ => world.arrive(kind),
            }
            world.check();
        }
        world
    }

    fn moves() -> impl Strategy<Value = Vec<(Move, usize)>> {
        let next = prop_oneof![
            10 => Just(Move::Arrive),
            2 => Just(Move::ArriveInVain),
            8 => Just(Move::Leave { tells: true }),
            2 => Just(Move::Leave { tells: false }),
        ];
        prop::collection::vec((next, any::<usize>()), 0..120)
    }

    proptest! {
        #[test]
        fn what_is_known_is_the_rule_s_own_answer(moves in moves(), shared in 0..8usize) {
            let kinds = [vec![EntryKind::Exclusive], vec![EntryKind::Shared; shared]].concat();
            play(&kinds, moves);
        }

        #[test]
        fn permits_are_counted(moves in moves(), limit in 1..4u32) {
            let kinds: Vec<_> = (1..=limit).map(|permits| EntryKind::Permits { permits, limit }).collect();
            play(&kinds, moves);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(all|some)?( gap)?(\\n(ex|sh)-[a-c]-0000000000000000000[0-9]){0,3}\\n{0,3}") {
            if let Some(ahead) = Ahead::parse(&text) {
                prop_assert!(text.starts_with(&ahead.text().unwrap()));
            }
        }
    }

    #[test]
    fn a_queue_that_is_handed_over_is_not_read() {
        for (kinds, allowed) in [
            (vec![EntryKind::Exclusive], 0),
            // Of a semaphore with more permits than half of what is remembered, it is at times.
            (vec![EntryKind::Permits { permits: 1, limit: 2 }], 0),
            // So it is once by each who waits for more shared ones than are remembered.
            ([vec![EntryKind::Exclusive], vec![EntryKind::Shared; 19]].concat(), 5),
        ] {
            let mut world = World { remembered: Ahead::all(Vec::new()), ..World::default() };
            for round in 0..100 {
                world.arrive(kinds[round % kinds.len()]);
            }
            let readings = world.readings;
            for round in 0..100 {
                world.leave(0, true);
                world.arrive(kinds[round % kinds.len()]);
                world.check();
            }
            assert!(world.readings <= readings + allowed, "{kinds:?}: {}", world.readings - readings);
        }
    }
}
