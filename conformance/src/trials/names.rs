//! Any name works, and different names are different locks.

use super::prelude::*;

trials!("names", Clients: [
    every_name_is_a_lock_of_its_own,
    invalid_names_are_refused,
    names_come_back_as_they_were,
]);

/// Names that have broken lock libraries: separators, escapes, dots, controls, other people's syntax.
const NAMES: &[&str] = &[
    " ",
    "/",
    "//",
    "a/b",
    "a//b",
    "/a",
    "a/",
    "a__b",
    "a%2Fb",
    "a%2fb",
    ".",
    "..",
    "...",
    "a/..",
    "../a",
    ".a",
    "zookeeper",
    "a\0b",
    "\n",
    "\r\n$1",
    "\u{7f}",
    "\u{ffff}",
    "\u{d7ff}",
    "\u{9f}",
    "🔒",
    "\u{e9}",
    "e\u{301}",
    "A",
    "a",
    "{a}",
    "a{b}c",
    "}{",
    "*",
    "[a]",
    "%",
    "%%",
    "a:b",
    "lock-",
    "__lock__",
    "queue",
    "token",
    "0000000000",
    "ex-",
    "sh-0000000001",
    "locks",
    "-",
    "_",
    "a b",
    "a\tb",
    "\\",
    "'",
    "\"",
    "$(id)",
    "`id`",
    "a;b",
    "a&b",
    "#",
    "?",
    "ab",
    "a\u{ff}",
    "ß",
    "ſ",
    "ı",
    "I",
    "i",
];

fn names(context: &Context) -> Vec<String> {
    let mut names: Vec<String> = NAMES.iter().map(|name| format!("{}{name}", context.name())).collect();
    names.push("x".repeat(512 - context.name().len()) + context.name());
    names.push("🔒".repeat((512 - context.name().len()) / 4) + context.name());
    // In front as well: what a name starts with matters to some servers.
    names.extend(NAMES.iter().map(|name| format!("{name}{}", context.name())));
    names
}

async fn every_name_is_a_lock_of_its_own(context: Context) -> Verdict {
    let alice = context.client().await?;
    let names = names(&context);
    let mut guards = Vec::new();
    for name in &names {
        let guard = alice.locks.exclusive(name)?.try_acquire().await?;
        guards.push(guard.ok_or_else(|| Failure::new(format!("{name:?} is the same as another name")))?);
        let semaphore = alice.locks.semaphore(name, 1)?.try_acquire().await?;
        check!(semaphore.is_some(), "semaphore {name:?} is the same as another name");
    }
    for (guard, name) in guards.iter().zip(&names) {
        check!(guard.name().as_str() == name, "{name:?} became {:?}", guard.name());
        check!(alice.locks.exclusive(name)?.try_acquire().await?.is_none(), "{name:?} is not held");
    }
    Ok(())
}

async fn invalid_names_are_refused(context: Context) -> Verdict {
    let alice = context.client().await?;
    for name in ["", &"x".repeat(513), &"🔒".repeat(129)] {
        let refusals =
            [alice.locks.exclusive(name), alice.locks.shared(name), alice.locks.semaphore(name, 1)];
        for refused in refusals {
            let refused = refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput);
            check!(refused, "a name of {} bytes is accepted", name.len());
        }
    }
    Ok(())
}

async fn names_come_back_as_they_were(context: Context) -> Verdict {
    let alice = context.client().await?;
    let names = names(&context);
    let mut guards = Vec::new();
    for name in &names {
        guards.push(alice.locks.exclusive(name)?.acquire().await?);
    }
    let listed = alice.locks.names().await?;
    for name in &names {
        let found = listed.iter().any(|key| key.name.as_str() == name);
        check!(found, "{name:?} is held but not listed");
    }
    Ok(())
}
