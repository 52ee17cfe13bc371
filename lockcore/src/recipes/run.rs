//! PURE: the record of a run.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::entry::FencingToken;
use crate::error::{Error, Result};
use crate::record::Record;

/// The last run of a [job](crate::Once).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRun {
    /// When it began, to the millisecond.
    pub started: SystemTime,
    /// Who ran it.
    pub by: String,
    /// How it ended.
    pub end: RunEnd,
    /// When it ended, where that is recorded.
    pub ended: Option<SystemTime>,
    /// Under which token.
    pub token: FencingToken,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEnd {
    /// That is not recorded: it still runs, or its machine died.
    Unfinished,
    /// The work said that all is well.
    Succeeded,
    /// The work said what went wrong; the first 512 bytes of that.
    Failed(String),
    /// The lock was lost, for this reason, and the work stopped.
    Lost(String),
}

/// What all records of runs begin with, and those of this form.
const FORM: &str = "run1";
/// How much of what people read is recorded.
const LONGEST_BY: usize = 256;
const LONGEST_REASON: usize = 512;

impl RunEnd {
    /// How this ended: with the work, or with the lock.
    pub(super) fn of<T, E: Display>(result: &Result<Result<T, E>>) -> Self {
        let cut = |text: String| cut(&text, LONGEST_REASON).to_owned();
        match result {
            Ok(Ok(_)) => Self::Succeeded,
            Ok(Err(error)) => Self::Failed(cut(error.to_string())),
            Err(loss) => Self::Lost(cut(Error::to_string(loss))),
        }
    }

    /// The word for it, and the reason.
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Unfinished => ("unfinished", ""),
            Self::Succeeded => ("succeeded", ""),
            Self::Failed(reason) => ("failed", reason),
            Self::Lost(reason) => ("lost", reason),
        }
    }

    fn parse(word: &str, reason: &str) -> Option<Self> {
        Some(match word {
            "unfinished" => Self::Unfinished,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed(reason.to_owned()),
            "lost" => Self::Lost(reason.to_owned()),
            _ => return None,
        })
    }
}

impl LastRun {
    pub(super) fn begun(token: FencingToken, started: SystemTime, by: &str) -> Self {
        let by = cut(by, LONGEST_BY).to_owned();
        Self { started, by, end: RunEnd::Unfinished, ended: None, token }
    }

    pub(super) fn ended(&mut self, at: SystemTime, end: RunEnd) {
        (self.ended, self.end) = (Some(at), end);
    }

    /// The text: `run1 <began> <ended> <how> <length of who>:<who><reason>`, times in milliseconds.
    pub(super) fn encode(&self) -> String {
        let Self { started, by, end, ended, token: _ } = self;
        let (word, reason) = end.words();
        let (started, ended) = (milliseconds(*started), ended.map_or(0, milliseconds));
        format!("{FORM} {started} {ended} {word} {}:{by}{reason}", by.len())
    }

    /// The run that this record tells of; `None` if it is of something else.
    pub(super) fn decode(Record { token, text }: Record) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let form = parts.next()?;
        let (started, ended) = (time(parts.next()?)?, time(parts.next()?)?);
        let (word, (length, rest)) = (parts.next()?, parts.next()?.split_once(':')?);
        let (by, reason) = rest.split_at_checked(length.parse().ok()?)?;
        let end = RunEnd::parse(word, reason)?;
        let ended = Some(ended).filter(|ended| *ended > UNIX_EPOCH);
        (form == FORM).then(|| Self { started, by: by.to_owned(), end, ended, token })
    }
}

/// As much of the text as has at most so many bytes.
fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end() -> impl Strategy<Value = RunEnd> {
        prop_oneof![
            Just(RunEnd::Unfinished),
            Just(RunEnd::Succeeded),
            any::<String>().prop_map(RunEnd::Failed),
            any::<String>().prop_map(RunEnd::Lost),
        ]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(by: String, end in end(), started in 0..u64::MAX / 4, ended: u32, token: u64) {
            let token = FencingToken::new(token);
            let started = UNIX_EPOCH + Duration::from_millis(started);
            let mut run = LastRun { by, ..LastRun::begun(token, started, "") };
            run.ended(started + Duration::from_millis(1 + u64::from(ended)), end);
            prop_assert_eq!(LastRun::decode(Record { token, text: run.encode() }), Some(run));
        }

        #[test]
        fn whatever_is_recorded_fits(by: String, reason: String) {
            let (by, reason) = (by.repeat(50), reason.repeat(50));
            let mut run = LastRun::begun(FencingToken::new(u64::MAX), SystemTime::now(), &by);
            run.ended(SystemTime::now(), RunEnd::of(&Ok(Err::<(), _>(reason))));
            prop_assert!(run.encode().len() <= Record::MAX);
        }
    }

    #[test]
    fn records_of_something_else_are_no_runs() {
        for text in [
            "",
            "run1",
            "run2 1 2 succeeded 0:",
            "run1 1 2 done 0:",
            "run1 1 2 failed 9:abc",
            "run1 x 2 lost 0:",
        ] {
            let record = Record { token: FencingToken::new(1), text: text.to_owned() };
            assert_eq!(LastRun::decode(record), None, "{text:?}");
        }
    }
}
