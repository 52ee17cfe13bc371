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

/// How many entries are remembered, so that their names fit into a page.
pub(crate) const MOST: usize = 48;

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

    /// One of them is gone.
    pub(crate) fn forget(&mut self, gone: &Node) {
        self.nodes.retain(|node| node.id != gone.id);
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
