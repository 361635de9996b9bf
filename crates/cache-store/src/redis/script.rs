use std::sync::LazyLock;

use ::redis::{Arg, Cmd, cmd};

/// What all scripts of keys begin with.
macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!($file), "\n"),+)))
    };
}

pub(super) static GET: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/get.lua");
pub(super) static READ: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/read.lua");
pub(super) static WRITE: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/change.lua", "lua/write.lua");
pub(super) static APPLY: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/change.lua", "lua/apply.lua");
pub(super) static RAISE: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/raise.lua");
pub(super) static SHRINK: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/shrink.lua");
pub(super) static FORGET: LazyLock<Script> = script!("lua/space.lua", "lua/rank.lua", "lua/forget.lua");
pub(super) static RELEASE: LazyLock<Script> = script!("lua/release.lua");
pub(super) static DENY: LazyLock<Script> = script!("lua/deny.lua");
pub(super) static HEAD: LazyLock<Script> = script!("lua/head.lua");
pub(super) static ENQUEUE: LazyLock<Script> = script!("lua/enqueue.lua");
pub(super) static NAMESPACE: LazyLock<Script> = script!("lua/namespace.lua");

/// A script, called by its hash, and by its text where Redis does not know it (yet, or after a restart).
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: ::redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call with these keys; arguments follow.
    pub(super) fn call<K: AsRef<[u8]>>(&self, keys: &[K]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(self.hash.as_bytes()).arg(keys.len());
        for key in keys {
            call.arg(key.as_ref());
        }
        call
    }

    /// The same command, with the script's text where it calls the script.
    pub(super) fn told(&self, command: &Cmd) -> Cmd {
        match command.args_iter().nth(1) {
            Some(Arg::Simple(hash)) if hash == self.hash.as_bytes() => self.whole(command),
            _ => command.clone(),
        }
    }

    /// The same call with the script's text, which Redis then knows.
    pub(super) fn whole(&self, call: &Cmd) -> Cmd {
        let mut whole = cmd("EVAL");
        whole.arg(self.text);
        for arg in call.args_iter().skip(2) {
            if let Arg::Simple(bytes) = arg {
                whole.arg(bytes);
            }
        }
        whole
    }
}
