//! `fairlock unlock`: gives back what `fairlock lock` holds for this shell.

use std::process::ExitCode;

use crate::arguments::UnlockOptions;
use crate::contact::call;
use crate::environment::{Outer, outer};
use crate::exit::{Failure, LOST, USAGE};
use crate::holder::Unlocked;
use crate::open_file;

pub(crate) async fn unlock(options: &UnlockOptions) -> Result<ExitCode, Failure> {
    let is_meant = |held: &Outer| options.name.as_ref().is_none_or(|name| held.name == *name);
    let held: Vec<Outer> =
        outer().into_iter().filter(|held| held.holder.is_some() && is_meant(held)).collect();
    let Some(last) = held.last() else {
        let message =
            "this shell has locked nothing, or nothing of this name: eval \"$(fairlock lock NAME)\"";
        return Err(Failure::new(USAGE, message));
    };
    let name = &last.name;
    // Those that have been given back are still in the environment.
    for held in held.iter().rev() {
        let Some(mut holder) = held.holder.as_deref().map_or(Ok(None), call)? else { continue };
        holder.send(&());
        let unlocked = holder.next::<Unlocked>().await;
        // Not before that: the holder would take it for closed.
        held.fd.into_iter().for_each(open_file::unlock);
        return match unlocked {
            Some(Ok(())) => Ok(ExitCode::SUCCESS),
            Some(Err(why)) => Err(Failure::new(LOST, format!("lost {:?}: {why}", held.name))),
            None => Err(Failure::new(LOST, format!("lost {:?}: its holder has ended", held.name))),
        };
    }
    Err(Failure::new(
        LOST,
        format!("{name:?} is not held any more: it was unlocked, or lost, or its time was over"),
    ))
}
