use std::time::Duration;

use anyhow::{Context, Result, bail};
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
    /// Nothing.
    Calm,
}

impl Plan {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Failover => "failover",
            Self::Calm => "calm",
        }
    }
}

impl std::str::FromStr for Plan {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Links, Self::Failover, Self::Calm]
            .into_iter()
            .find(|plan| plan.name() == name)
            .with_context(|| format!("there is no plan {name:?}; there are links, failover and calm"))
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
    let mut failover_at_us = if plan == Plan::Failover { until_us / 2 } else { u64::MAX };
    loop {
        sleep(Duration::from_millis(rng.u64(100..400))).await;
        let began_at_us = recorder.now_us();
        if began_at_us >= until_us || plan == Plan::Calm {
            return Ok(());
        }
        let (kind, detail) = if began_at_us >= failover_at_us {
            failover_at_us = u64::MAX;
            fail_over(stack).await?;
            (EventKind::Failover, "redis-2 takes over".to_owned())
        } else {
            one(stack, &mut rng).await?
        };
        let ended_at_us = recorder.now_us();
        recorder.add(&Line::Event(Event { kind, detail, began_at_us, ended_at_us }))?;
    }
}

async fn one(stack: &mut Stack, rng: &mut Rng) -> Result<(EventKind, String)> {
    let at = rng.usize(..stack.replicas.len());
    let replica = &mut stack.replicas[at];
    let name = replica.name.clone();
    let long = Duration::from_millis(rng.u64(100..1400));
    let way = [Way::Both, Way::ToClient, Way::ToServer][rng.usize(..3)];
    let kind = match rng.u32(..10) {
        0 => {
            block_in_place(|| replica.program.kill())?;
            sleep(long / 8).await;
            block_in_place(|| replica.program.restart())?;
            replica.ready().await?;
            EventKind::ReplicaKilled
        }
        1..3 => {
            replica.proxy.cut(Links::Tracking);
            EventKind::LinkCut
        }
        3..6 => {
            replica.proxy.set(Links::Tracking, LinkFault::BlackHole(way));
            sleep(long).await;
            replica.proxy.set(Links::Tracking, LinkFault::None);
            return Ok((EventKind::LinkBlackHoled, format!("{name}, {way:?}")));
        }
        6..8 => {
            let by = Duration::from_millis(rng.u64(10..220));
            replica.proxy.set(Links::Tracking, LinkFault::Delayed(way, by));
            sleep(long).await;
            replica.proxy.set(Links::Tracking, LinkFault::None);
            return Ok((EventKind::LinkDelayed, format!("{name}, {way:?} by {by:?}")));
        }
        8 => {
            replica.proxy.cut(Links::All);
            EventKind::StoreCut
        }
        _ => {
            let serves = match &mut stack.standby {
                Some((standby, _)) if stack.redis.process().is_none() => standby,
                _ => &mut stack.redis,
            };
            serves.pause()?;
            sleep(long / 2).await;
            serves.resume()?;
            return Ok((EventKind::StorePaused, "the store".to_owned()));
        }
    };
    Ok((kind, name))
}

/// The standby takes the store's place, without the last writes.
async fn fail_over(stack: &mut Stack) -> Result<()> {
    let Some((standby, way)) = &stack.standby else { bail!("there is no standby") };
    way.set(Links::All, LinkFault::BlackHole(Way::ToClient));
    sleep(Duration::from_millis(150)).await;
    for link in stack.ways() {
        link.lead_to(standby.port());
    }
    block_in_place(|| stack.redis.kill())?;
    let Some((standby, way)) = &stack.standby else { bail!("there is no standby") };
    way.cut(Links::All);
    standby.ask("REPLICAOF NO ONE")?;
    for link in stack.ways() {
        link.cut(Links::All);
    }
    Ok(())
}
