//! Renews what a session has.

use futures::stream::{self, StreamExt};
use lockcore::session::{KeepAlive, Loss};
use lockcore::{Effect, EntryId, Error, Result};
use redis::cluster_routing::{Route, SlotAddr};
use redis::cmd;

use crate::connection::Purpose;
use crate::error::is_refusal;
use crate::own_entries::{Renewal, Round};
use crate::queue::{AT_ONCE, Shared};
use crate::scripts::SCRIPTS;

/// What became of a renewal that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewed {
    All,
    /// An entry that we had made was not there.
    ButNotAll,
    Nothing,
}

/// Of one lock how many dead entries were removed, and which of ours were not there.
pub(crate) type Swept = (u64, Vec<String>);

/// The renewals of a session. Its connection makes itself anew.
pub(crate) struct Renewals<'s>(pub(crate) &'s Shared);

impl KeepAlive for Renewals<'_> {
    async fn renew(&mut self) -> Result<()> {
        self.0.renew_all().await
    }
}

impl Shared {
    /// Renews everything.
    async fn renew_all(&self) -> Result<()> {
        let rounds = stream::iter(self.to_renew()).map(|round| self.renew_round(round));
        let results: Vec<Result<Vec<Renewed>>> = rounds.buffer_unordered(AT_ONCE).collect().await;
        let renewed: Vec<Vec<Renewed>> = results.into_iter().collect::<Result<_>>()?;
        let renewed = renewed.concat();
        if !self.servers.are_cluster() {
            // What was made after the server lost everything is a new beginning.
            let lost_some = renewed.contains(&Renewed::ButNotAll);
            if !self.mark(!lost_some).await? {
                return Err(Error::lost(Loss::Expired));
            }
        } else if renewed.iter().all(|renewed| *renewed == Renewed::Nothing) {
            self.connection.ask_any::<String>("session", cmd("PING")).await?;
        }
        Ok(())
    }

    /// What may be renewed together: everything, in a cluster what is in one slot.
    fn to_renew(&self) -> Vec<Round> {
        let cluster = self.servers.are_cluster();
        self.entries
            .to_renew(|lock| cluster.then(|| Route::with_key(self.layout.key(lock), SlotAddr::Master)))
    }

    /// Renews these, with one script. A lock with which that went wrong is asked for alone, which tells why: what the server refuses of one,
    /// or has moved elsewhere, is no reason for the others to be lost.
    async fn renew_round(&self, round: Round) -> Result<Vec<Renewed>> {
        let answered = |error: &Error| error.effect() == Effect::None || is_refusal(error);
        let answers = match self.renew(&round).await {
            Ok(answers) => answers,
            Err(error) if round.len() > 1 && answered(&error) => vec![None; round.len()],
            Err(error) => return round.iter().map(|renewal| self.not_renewed(renewal, &error)).collect(),
        };
        let mut renewed = Vec::new();
        for (renewal, answer) in round.into_iter().zip(answers) {
            renewed.push(match answer {
                Some((_, absent)) => self.renewed(&renewal, &absent),
                None => self.renew_alone(renewal).await?,
            });
        }
        Ok(renewed)
    }

    async fn renew_alone(&self, renewal: Renewal) -> Result<Renewed> {
        match self.renew(std::slice::from_ref(&renewal)).await {
            Ok(answers) => {
                let (_, absent) = answers.into_iter().flatten().next().unwrap_or_default();
                Ok(self.renewed(&renewal, &absent))
            }
            Err(error) => self.not_renewed(&renewal, &error),
        }
    }

    /// Renews these entries. What it answers of each lock; nothing of one of several with which it went wrong.
    pub(crate) async fn renew(&self, round: &[Renewal]) -> Result<Vec<Option<Swept>>> {
        let lock = match round {
            [(lock, _)] => Some(lock),
            _ => None,
        };
        let keys: Vec<String> = round.iter().map(|(lock, _)| self.layout.key(lock)).collect();
        let mut call = self.call(&SCRIPTS.renew, &keys);
        for (_, entries) in round {
            call.arg(entries.len());
            entries.iter().for_each(|(id, _)| _ = call.arg(id.as_str()));
            entries.iter().for_each(|(_, ticket)| _ = call.arg(*ticket));
        }
        self.connection.run(Purpose { operation: "renewal", lock }, &call).await
    }

    /// Wakes those who sleep for an entry that is not there any more.
    fn renewed(&self, (_, entries): &Renewal, absent: &[String]) -> Renewed {
        let absent: Vec<_> = absent.iter().map(|id| EntryId::from(&**id)).collect();
        let known = |(id, ticket): &(EntryId, u64)| *ticket != 0 && absent.contains(id);
        self.entries.absent(&absent);
        if entries.iter().any(known) { Renewed::ButNotAll } else { Renewed::All }
    }

    /// What the server refuses is no reason for the rest of the session to end, nor is it what nobody holds or waits with yet.
    fn not_renewed(&self, (_, entries): &Renewal, error: &Error) -> Result<Renewed> {
        if is_refusal(error) {
            tracing::warn!(%error, "the entries are lost");
            self.entries.refuse(entries);
            return Ok(Renewed::Nothing);
        }
        match self.entries.go_on_without(entries) {
            true => Ok(Renewed::Nothing),
            false => Err(error.clone()),
        }
    }
}
