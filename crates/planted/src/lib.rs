//! Bugs that are planted on purpose, to see that the tests find them. Without the feature `on` there are none.
//!
//! Each stands at its true place in the product, as one question to [`is`]. What is built with the feature says so
//! wherever it says its version, and is never released.

/// Environment variable that names the bug of a process.
pub const VARIABLE: &str = "HEADWATER_PLANTED_BUG";

/// Whether bugs can be planted in what was built.
pub const ON: bool = cfg!(feature = "on");

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The history moves a partition's offset in a transaction of its own before the one of the rows, and the log is
    /// given its hint before either.
    OffsetBeforeRows,
    /// Live statistics take a batch whatever offset a shard has.
    CountersWithoutGuard,
    /// Neither a batch nor the history looks whether an event is there already.
    NoDeduplication,
    /// Ingest calls accepted what the log has not answered for.
    AcknowledgementBeforeBroker,
    /// The history takes a batch from whoever owned the partition once, and leaves the former owner its session.
    NoFencing,
    /// A replay to live statistics judges events anew instead of taking the verdict that is stored.
    VerdictRecomputedOnReplay,
    /// The cache leaves in a replica's memory what it is told has changed.
    NoticeIgnored,
    /// A value enters a replica's memory though its key changed since it was read.
    EntryDespiteChange,
    /// A replica's memory answers however long ago it heard of changes.
    VouchedUnheard,
    /// What was loaded is written whatever happened to its key meanwhile.
    FillWithoutLease,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OffsetBeforeRows,
        Self::CountersWithoutGuard,
        Self::NoDeduplication,
        Self::AcknowledgementBeforeBroker,
        Self::NoFencing,
        Self::VerdictRecomputedOnReplay,
        Self::NoticeIgnored,
        Self::EntryDespiteChange,
        Self::VouchedUnheard,
        Self::FillWithoutLease,
    ];

    /// Its name, as [`VARIABLE`] has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OffsetBeforeRows => "offset-before-rows",
            Self::CountersWithoutGuard => "counters-without-guard",
            Self::NoDeduplication => "no-deduplication",
            Self::AcknowledgementBeforeBroker => "acknowledgement-before-broker",
            Self::NoFencing => "no-fencing",
            Self::VerdictRecomputedOnReplay => "verdict-recomputed-on-replay",
            Self::NoticeIgnored => "notice-ignored",
            Self::EntryDespiteChange => "entry-despite-change",
            Self::VouchedUnheard => "vouched-unheard",
            Self::FillWithoutLease => "fill-without-lease",
        }
    }
}

/// Whether this bug is planted.
///
/// # Panics
/// With the feature, where [`VARIABLE`] names no bug.
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "on")]
pub use on::{chosen, is, plant};

#[cfg(feature = "on")]
mod on {
    use std::cell::Cell;
    use std::env::{self, VarError};
    use std::sync::OnceLock;

    use super::{Bug, VARIABLE};

    thread_local! {
        static OF_THREAD: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted.
    ///
    /// # Panics
    /// Where [`VARIABLE`] names no bug.
    pub fn is(bug: Bug) -> bool {
        chosen() == Some(bug)
    }

    /// Plants a bug in all that this thread runs, or leaves it to [`VARIABLE`] again: for tests that try several.
    pub fn plant(bug: Option<Bug>) {
        OF_THREAD.set(bug);
    }

    /// The bug that is planted: the thread's, or the process's.
    ///
    /// # Panics
    /// Where [`VARIABLE`] names no bug.
    pub fn chosen() -> Option<Bug> {
        static OF_PROCESS: OnceLock<Option<Bug>> = OnceLock::new();
        OF_THREAD.get().or_else(|| *OF_PROCESS.get_or_init(named))
    }

    fn named() -> Option<Bug> {
        let name = match env::var(VARIABLE) {
            Ok(name) if name.is_empty() => return None,
            Ok(name) => name,
            Err(VarError::NotPresent) => return None,
            Err(VarError::NotUnicode(name)) => name.to_string_lossy().into_owned(),
        };
        let names = Bug::ALL.map(Bug::name);
        let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
        assert!(bug.is_some(), "{VARIABLE}: there is no bug {name:?}; there are {names:?}");
        bug
    }
}
