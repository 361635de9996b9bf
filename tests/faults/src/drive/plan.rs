//! What is broken, in which order: by the seed alone.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

/// A way to break something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A processor is killed and started again.
    ProcessorKilled,
    /// An ingest is killed and started again.
    IngestKilled,
    /// A Kafka broker is killed, and started again once the others do without it.
    BrokerKilled,
    /// Postgres is killed and started again.
    PostgresKilled,
    /// The same, in the middle of a COPY.
    PostgresKilledInCopy,
    /// A processor's connection is cut before Postgres gets its COMMIT.
    CutBeforeCommit,
    /// A processor's connection is cut when Postgres has got its COMMIT.
    CutInCommit,
    /// A processor's connection is cut when Postgres has answered its COMMIT, before the answer arrives.
    CutAfterCommit,
    /// A processor is stopped for longer than its session, and goes on.
    ProcessorPaused,
    /// The same, in the middle of a COPY: its transaction is open, and the way to Postgres is cut before it goes on.
    ProcessorPausedInCopy,
    /// A processor is added, or, where there is one more already, one leaves in good order.
    ReplicasChanged,
    /// Redis is emptied.
    RedisEmptied,
    /// Redis is killed and comes back as it was some faults ago.
    RedisRolledBack,
}

/// How much is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Everything as often as a release needs it.
    Full,
    /// Everything once, or twice.
    Short,
    /// Only one kind, so many times.
    Only(Fault, usize),
}

impl Fault {
    /// Every kind, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::ProcessorKilled,
        Self::IngestKilled,
        Self::BrokerKilled,
        Self::PostgresKilled,
        Self::PostgresKilledInCopy,
        Self::CutBeforeCommit,
        Self::CutInCommit,
        Self::CutAfterCommit,
        Self::ProcessorPaused,
        Self::ProcessorPausedInCopy,
        Self::ReplicasChanged,
        Self::RedisEmptied,
        Self::RedisRolledBack,
    ];

    /// What it is called, in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessorKilled => "processor-killed",
            Self::IngestKilled => "ingest-killed",
            Self::BrokerKilled => "broker-killed",
            Self::PostgresKilled => "postgres-killed",
            Self::PostgresKilledInCopy => "postgres-killed-in-copy",
            Self::CutBeforeCommit => "cut-before-commit",
            Self::CutInCommit => "cut-in-commit",
            Self::CutAfterCommit => "cut-after-commit",
            Self::ProcessorPaused => "processor-paused",
            Self::ProcessorPausedInCopy => "processor-paused-in-copy",
            Self::ReplicasChanged => "replicas-changed",
            Self::RedisEmptied => "redis-emptied",
            Self::RedisRolledBack => "redis-rolled-back",
        }
    }

    fn times(self, plan: Plan) -> usize {
        match (plan, self) {
            (Plan::Only(fault, times), _) => {
                if fault == self {
                    times
                } else {
                    0
                }
            }
            // One comes, one goes.
            (Plan::Short, Self::ReplicasChanged) => 2,
            (Plan::Short, _) => 1,
            (Plan::Full, Self::ProcessorKilled) => 50,
            (Plan::Full, Self::IngestKilled | Self::ReplicasChanged) => 20,
            (Plan::Full, Self::BrokerKilled) => 10,
            (Plan::Full, Self::ProcessorPaused) => 6,
            (Plan::Full, Self::PostgresKilled | Self::ProcessorPausedInCopy) => 4,
            (Plan::Full, Self::PostgresKilledInCopy) => 3,
            (Plan::Full, Self::CutBeforeCommit | Self::CutInCommit | Self::CutAfterCommit) => 2,
            (Plan::Full, Self::RedisEmptied | Self::RedisRolledBack) => 5,
        }
    }
}

impl Plan {
    /// The faults in their order.
    pub fn faults(self, seed: u64) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            Fault::ALL.into_iter().flat_map(|fault| std::iter::repeat_n(fault, fault.times(self))).collect();
        Rng::with_seed(seed).shuffle(&mut faults);
        faults
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Short => f.write_str("short"),
            Self::Only(fault, times) => write!(f, "{}={times}", fault.name()),
        }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Fault::ALL.map(Fault::name).join(", ");
        match (text, text.split_once('=')) {
            ("full", _) => Ok(Self::Full),
            ("short", _) => Ok(Self::Short),
            (_, Some((name, times))) => {
                let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                let fault = fault.ok_or_else(|| format!("there is no fault {name}; there are {}", names()))?;
                Ok(Self::Only(fault, times.parse().map_err(|error| format!("{times}: {error}"))?))
            }
            _ => Err(format!("full, short, or KIND=TIMES with a kind of {}", names())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_every_kind_is_in_it() {
        for plan in [Plan::Full, Plan::Short] {
            let faults = plan.faults(7);
            assert_eq!(faults, plan.faults(7));
            assert_ne!(faults, plan.faults(8));
            assert!(Fault::ALL.iter().all(|fault| faults.contains(fault)), "{faults:?}");
        }
        assert_eq!(Plan::Full.faults(1).len(), 133);
        assert_eq!("broker-killed=3".parse(), Ok(Plan::Only(Fault::BrokerKilled, 3)));
        assert_eq!(Plan::Only(Fault::BrokerKilled, 3).faults(1), [Fault::BrokerKilled; 3]);
        assert!("nothing=3".parse::<Plan>().is_err());
    }
}
