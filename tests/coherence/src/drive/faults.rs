use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use headwater_testkit::{LinkFault, Links, Way};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::stack::Stack;
use crate::history::{Event, EventKind, Line, Recorder};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Replicas, their links, and the store's time.
    Links,
    /// The same, and in the middle another server becomes the store.
    Failover,
    /// The same on a Redis Cluster, where a replica takes a primary's place.
    Cluster,
    /// Nothing.
    Calm,
}

impl Plan {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Failover => "failover",
            Self::Cluster => "cluster",
            Self::Calm => "calm",
        }
    }
}

impl std::str::FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Links, Self::Failover, Self::Cluster, Self::Calm]
            .into_iter()
            .find(|plan| plan.name() == name)
            .with_context(|| format!("there is no plan {name:?}; there are links, failover, cluster and calm"))
    }
}

/// Breaks one thing after the other until the time of the history has come.
pub(super) async fn break_things(
    stack: &mut Stack,
    recorder: &Recorder,
    plan: Plan,
    seed: u64,
    until_us: u64,
) -> Result<()> {
    let mut rng = Rng::with_seed(!seed);
    let mut failover_at_us = if matches!(plan, Plan::Failover | Plan::Cluster) { until_us / 2 } else { u64::MAX };
    loop {
        sleep(Duration::from_millis(rng.u64(100..400))).await;
        let began_at_us = recorder.now_us();
        if began_at_us >= until_us || plan == Plan::Calm {
            return Ok(());
        }
        let (kind, detail) = if began_at_us >= failover_at_us {
            failover_at_us = u64::MAX;
            (EventKind::Failover, stack.store.fail_over().await?)
        } else {
            one(stack, &mut rng).await?
        };
        let ended_at_us = recorder.now_us();
        recorder.add(&Line::Event(Event { kind, detail, began_at_us, ended_at_us }))?;
    }
}

async fn one(stack: &mut Stack, rng: &mut Rng) -> Result<(EventKind, String)> {
    let replica = rng.usize(..stack.replicas.len());
    let at = rng.usize(..stack.store.ways().len());
    let link = &stack.store.ways()[at];
    let long = Duration::from_millis(rng.u64(100..1400));
    let way = [Way::Both, Way::ToClient, Way::ToServer][rng.usize(..3)];
    let which = format!("way {}", at + 1);
    Ok(match rng.u32(..10) {
        0 => {
            let replica = &mut stack.replicas[replica];
            block_in_place(|| replica.program.kill())?;
            sleep(long / 8).await;
            block_in_place(|| replica.program.restart())?;
            replica.ready().await?;
            (EventKind::ReplicaKilled, replica.name.clone())
        }
        1..3 => {
            link.cut(Links::Tracking);
            (EventKind::LinkCut, which)
        }
        3..6 => {
            link.set(Links::Tracking, LinkFault::BlackHole(way));
            sleep(long).await;
            link.set(Links::Tracking, LinkFault::None);
            (EventKind::LinkBlackHoled, format!("{which}, {way:?}"))
        }
        6..8 => {
            let by = Duration::from_millis(rng.u64(10..220));
            link.set(Links::Tracking, LinkFault::Delayed(way, by));
            sleep(long).await;
            link.set(Links::Tracking, LinkFault::None);
            (EventKind::LinkDelayed, format!("{which}, {way:?} by {by:?}"))
        }
        8 => {
            link.cut(Links::All);
            (EventKind::StoreCut, which)
        }
        _ => {
            // Shorter than a node of a Cluster may be silent.
            let pause = long / 4;
            let server = stack.store.serving();
            server.pause()?;
            sleep(pause).await;
            server.resume()?;
            (EventKind::StorePaused, format!("for {pause:?}"))
        }
    })
}
