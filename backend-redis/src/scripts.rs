//! The scripts. Each is idempotent in the id of the entry, and Redis either refuses it or executes all of it.

use std::sync::LazyLock;

use redis::{Arg, Cmd, ToRedisArgs, cmd};

/// A script, and the hash under which a server remembers it.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

/// All of them.
pub(crate) struct Scripts {
    pub(crate) enqueue: Script,
    pub(crate) look: Script,
    pub(crate) list: Script,
    pub(crate) renew: Script,
    pub(crate) remove: Script,
    /// Removes an entry that may still be on its way.
    pub(crate) remove_unmade: Script,
    pub(crate) mark: Script,
    pub(crate) record: Script,
    pub(crate) set_record: Script,
}

macro_rules! script {
    ($flags:literal, $($part:literal)*) => {
        Script::new(concat!("#!lua", $flags, "\n", $(include_str!(concat!("scripts/", $part, ".lua"))),*))
    };
}

/// Only what needs more memory is refused when there is none: to renew and to release must always be possible.
/// What a free lock costs is decided before the functions of a queue are made, which is no small part of what a script takes.
pub(crate) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    enqueue: script!("", "time" "arrival" "queue" "deadlines" "enqueue"),
    look: script!(" flags=allow-oom", "time" "queue" "deadlines" "look"),
    list: script!(" flags=allow-oom", "time" "queue" "deadlines" "list"),
    renew: script!(" flags=allow-oom", "time" "queue" "deadlines" "renew"),
    remove: script!(" flags=allow-oom", "departure" "queue" "remove"),
    remove_unmade: script!(" flags=allow-oom", "time" "tombstone" "departure" "queue" "remove"),
    mark: script!(" flags=allow-oom", "mark"),
    record: script!(" flags=no-writes", "record"),
    set_record: script!("", "set_record"),
});

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// To be run on these keys.
    pub(crate) fn on(&'static self, keys: &[impl ToRedisArgs]) -> Call {
        // Most calls fit, and are not copied while they grow.
        let mut by_hash = Cmd::with_capacity(12, 512);
        by_hash.arg("EVALSHA").arg(&self.hash).arg(keys.len()).arg(keys);
        Call { script: self, by_hash }
    }
}

/// A script, its keys, and its arguments.
pub(crate) struct Call {
    script: &'static Script,
    by_hash: Cmd,
}

impl Call {
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.by_hash.arg(argument);
        self
    }

    /// For a server that may know the script.
    pub(crate) fn by_hash(&self) -> &Cmd {
        &self.by_hash
    }

    /// For the server that said that it does not. It remembers it from then on; in a cluster no other server is asked to.
    pub(crate) fn by_text(&self) -> Cmd {
        let mut by_text = cmd("EVAL");
        by_text.arg(self.script.text);
        for argument in self.by_hash.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                by_text.arg(argument);
            }
        }
        by_text
    }
}
