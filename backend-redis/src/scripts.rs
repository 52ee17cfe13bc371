//! The scripts. Each is idempotent in the id of the entry, and Redis either refuses it or executes all of it.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs, cmd};

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
    pub(crate) mark: Script,
}

macro_rules! script {
    ($flags:literal, $($file:literal),*) => {
        Script::new(concat!("#!lua", $flags, "\n", $(include_str!($file)),*))
    };
}

/// Only what needs more memory is refused when there is none: to renew and to release must always be possible.
pub(crate) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    enqueue: script!("", "scripts/queue.lua", "scripts/enqueue.lua"),
    look: script!(" flags=allow-oom", "scripts/queue.lua", "scripts/look.lua"),
    list: script!(" flags=allow-oom", "scripts/queue.lua", "scripts/list.lua"),
    renew: script!(" flags=allow-oom", "scripts/queue.lua", "scripts/renew.lua"),
    remove: script!(" flags=allow-oom", "scripts/queue.lua", "scripts/remove.lua"),
    mark: script!(" flags=allow-oom", "scripts/mark.lua"),
});

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// To be run on this key.
    pub(crate) fn on(&'static self, key: &str) -> Call {
        let mut call = Call { script: self, arguments: Vec::new() };
        call.arg(1).arg(key);
        call
    }
}

/// A script, its one key, and its arguments.
pub(crate) struct Call {
    script: &'static Script,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// For a server that may know the script.
    pub(crate) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// For the server that said that it does not. It remembers it from then on; in a cluster no other server is asked to.
    pub(crate) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(&self.arguments);
        command
    }
}
