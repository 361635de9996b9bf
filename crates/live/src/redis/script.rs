use std::sync::LazyLock;

use ::redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind, cmd};
use headwater_planted::{self as planted, Bug};

/// The look at the shard's offset in `apply.lua`, which a planted bug takes out.
const GUARD: &str = "offset ~= first";

pub(super) static APPLY: LazyLock<Script> = LazyLock::new(|| match include_str!("apply.lua") {
    text if planted::is(Bug::CountersWithoutGuard) => Script::new(text.replace(GUARD, "false").leak()),
    text => Script::new(text),
});
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read.lua")));
pub(super) static TRIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("trim.lua")));
pub(super) static EXPIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("expire.lua")));
pub(super) static REMOVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remove.lua")));

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
    pub(super) fn call(&self, keys: &[String]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
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

/// Whether Redis does not know the script.
pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
