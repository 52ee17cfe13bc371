//! What can happen next.

use super::client::{Client, Doing, Owner, Request, Session};
use super::world::{Bug, Lock, World, gone};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    // What happens by itself, sooner or later.
    Start(usize),
    Open(usize),
    Execute(usize),
    Answer(usize),
    Wake(usize),
    Tell(usize),
    Resume(usize),
    LateEnqueue(Owner),
    LateEnqueueVanishes(Owner),
    Remove(usize),
    TellLoss(usize),
    Expire(Owner),
    // Time, and what a client sends meanwhile.
    Tick(usize),
    SendRenewal(usize),
    ExecuteRenewal(usize),
    AnswerRenewal(usize),
    // What the user does.
    Release(usize),
    Cancel(usize),
    TimeOut(usize),
    // What may go wrong.
    WakeForNothing(usize),
    LookAtThePast(usize),
    LoseAnswer(usize),
    LoseRequest(usize),
    Refuse(usize),
    LoseLease(usize),
    Crash(usize),
    Meddle(usize),
}

/// Where time passes by the second, nobody waits for longer than this.
const HORIZON: u8 = Session::GRANTED + 3;

impl Lock {
    /// What will happen by itself, however long it takes; a holder may hold for ever.
    pub(super) fn progress(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, client) in world.clients.iter().enumerate() {
            if !client.crashed {
                self.progress_of(world, i, client, actions);
            }
            for (number, session) in client.sessions.iter().enumerate() {
                if session.late_enqueue {
                    actions
                        .extend([Action::LateEnqueue((i, number)), Action::LateEnqueueVanishes((i, number))]);
                }
                if !session.ended && self.server_ends(i, client, session) {
                    actions.push(Action::Expire((i, number)));
                }
            }
        }
    }

    fn progress_of(&self, world: &World, i: usize, client: &Client, actions: &mut Vec<Action>) {
        let reachable = client.reachable();
        match &client.doing {
            Doing::Nothing => actions.push(Action::Start(i)),
            Doing::Opening => actions.push(Action::Open(i)),
            Doing::Asking(_, None) if reachable => actions.push(Action::Execute(i)),
            Doing::Asking(_, Some(_)) => actions.push(Action::Answer(i)),
            Doing::Watching(wake) if reachable && wake.iter().any(|other| gone(world, *other)) => {
                actions.extend([Action::Wake(i), Action::Tell(i)]);
            }
            Doing::Pausing => actions.push(Action::Resume(i)),
            _ => {}
        }
        if client.to_be_removed {
            actions.push(Action::Remove(i));
        }
        if client.loss().is_some() && client.runs() {
            actions.push(Action::TellLoss(i));
        }
    }

    /// Whether the server ends the session: by its own clock, or, where time passes by leaps, some time after the client has
    /// given it up.
    fn server_ends(&self, i: usize, client: &Client, session: &Session) -> bool {
        match self.timed == Some(i) {
            true => session.now >= session.server_deadline,
            false => client.crashed || session.loss().is_some(),
        }
    }

    pub(super) fn choices(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, client) in world.clients.iter().enumerate() {
            if client.doing == Doing::Holding {
                actions.push(Action::Release(i));
            }
            if self.timed.is_some() {
                self.time(i, client, actions);
                continue;
            }
            if client.runs() {
                actions.extend([Action::Cancel(i), Action::TimeOut(i)]);
            }
            if matches!(client.doing, Doing::Watching(_)) {
                actions.push(Action::WakeForNothing(i));
            }
        }
    }

    fn time(&self, i: usize, client: &Client, actions: &mut Vec<Action>) {
        let Some(session) = client.sessions.last().filter(|_| self.timed == Some(i)) else { return };
        if session.now < HORIZON && !session.ended {
            actions.push(Action::Tick(i));
        }
        match session.renewal {
            None if session.renewals_left > 0 => actions.push(Action::SendRenewal(i)),
            Some(renewal) if renewal.executed => actions.push(Action::AnswerRenewal(i)),
            Some(_) if !session.ended => actions.push(Action::ExecuteRenewal(i)),
            _ => {}
        }
    }

    pub(super) fn faults(&self, world: &World, actions: &mut Vec<Action>) {
        if world.faults_left == 0 {
            return;
        }
        for (i, client) in world.clients.iter().enumerate() {
            match &client.doing {
                Doing::Asking(_, Some(_)) => actions.push(Action::LoseAnswer(i)),
                Doing::Opening => actions.push(Action::Refuse(i)),
                Doing::Asking(request, None) => {
                    actions.extend([Action::LoseRequest(i), Action::Refuse(i)]);
                    if *request == Request::Look && client.reachable() {
                        actions.push(Action::LookAtThePast(i));
                    }
                }
                Doing::Watching(_) if self.meddling => actions.push(Action::Meddle(i)),
                _ => {}
            }
            if client.has_live_session() && client.doing != Doing::Over {
                actions.extend([Action::LoseLease(i), Action::Crash(i)]);
                if self.bug == Bug::ExpiresTooEarly {
                    actions.push(Action::Expire(world.owner(i)));
                }
            }
        }
    }

    pub(super) fn quiet(&self, world: &World) -> bool {
        let mut actions = Vec::new();
        self.progress(world, &mut actions);
        let time_passes = |i: usize| world.clients[i].sessions.iter().any(|session| !session.ended);
        actions.is_empty() && !self.timed.is_some_and(time_passes)
    }
}
