//! What each driver does beyond the contract, as a small model of its own: every order of its requests is explored, and with
//! each mistake that was once made there, or could be, the model must find the harm.
//!
//! The models follow the decision records, not the code: what they prove is that the protocol is right, if its steps are
//! executed as written there.

mod etcd_inbox;
mod etcd_requests;
mod file_counter;
mod redis_deadlines;
mod redis_tombstones;
mod zookeeper_create;

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Model};

/// What the search needs of a state.
trait State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static {}

impl<T: Clone + Debug + Hash + PartialEq + Send + Sync + 'static> State for T {}

/// Explores all of it: nothing bad can be reached, everything good can.
fn holds<M>(model: M)
where
    M: Model<State: State, Action: Debug + Clone + PartialEq> + Send + Sync + 'static,
{
    let checker = model.checker().spawn_bfs().join();
    assert!(checker.is_done(), "not explored to the end");
    checker.assert_properties();
}

/// In how many moves the mistake can do harm, at least.
fn harm<M: Model<State: State + Eq>>(model: M, violated: &'static str) -> usize {
    let property = model.properties().into_iter().find(|property| property.name == violated);
    let fine = property.expect("the model has this property").condition;
    let mut level = model.init_states();
    let mut seen: HashSet<M::State> = level.iter().cloned().collect();
    for moves in 0.. {
        if level.iter().any(|state| !fine(&model, state)) {
            return moves;
        }
        assert!(!level.is_empty(), "the mistake does no harm");
        level = level
            .iter()
            .flat_map(|state| model.next_states(state))
            .filter(|next| seen.insert(next.clone()))
            .collect();
    }
    unreachable!("a search without end")
}
