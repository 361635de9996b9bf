//! A history of the cache itself, by seed, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater_coherence::drive::{Client, ClientOptions, Keys};
use headwater_coherence::history::{Event, EventKind, Line, Recorder, Run};
use tokio::time::sleep;

use crate::link::Notices;
use crate::replicas::{Engine, keys};

const REPLICAS: usize = 3;
const CLIENTS: usize = 6;
/// How long clients go on.
const LASTS: Duration = Duration::from_secs(4);
const STALENESS_MAX_MS: u64 = 250;

/// The history of a seed.
pub(crate) fn simulate(seed: u64) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(history(seed))
}

async fn history(seed: u64) -> Vec<Line> {
    let recorder = Arc::new(Recorder::in_memory());
    let run = Run { seed, plan: "simulation".into(), staleness_max_ms: STALENESS_MAX_MS };
    recorder.add(&Line::Run(run)).unwrap();
    let engine = Arc::new(Engine::start(REPLICAS, &recorder, seed));
    let options = ClientOptions {
        seed,
        keys: Keys(keys()),
        answer_within: Duration::from_millis(900),
        pause_max: Duration::from_millis(8),
    };
    let until_us = u64::try_from(LASTS.as_micros()).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(number, options.clone(), Arc::clone(&recorder));
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { client.run(&*engine, until_us).await })
        })
        .collect();
    tokio::select! {
        () = break_things(&engine, &recorder, seed) => {}
        () = async {
            for client in clients {
                client.await.unwrap().unwrap();
            }
        } => {}
    }
    recorder.finish().unwrap()
}

/// Breaks one thing after the other, for ever.
async fn break_things(engine: &Engine, recorder: &Recorder, seed: u64) {
    let mut rng = Rng::with_seed(!seed);
    loop {
        sleep(Duration::from_millis(rng.u64(50..300))).await;
        let replica = rng.usize(..REPLICAS);
        let short = Duration::from_millis(rng.u64(1..60));
        let long = Duration::from_millis(rng.u64(100..1500));
        let began_at_us = recorder.now_us();
        let kind = match rng.u32(..10) {
            0 => {
                engine.kill(replica);
                sleep(short).await;
                engine.start_one(replica);
                EventKind::ReplicaKilled
            }
            1..4 => {
                engine.set_notices(replica, Notices::CutOff);
                sleep(short).await;
                EventKind::LinkCut
            }
            4..7 => {
                engine.set_notices(replica, Notices::Held);
                sleep(long).await;
                EventKind::LinkBlackHoled
            }
            7..9 => {
                engine.set_notices(replica, Notices::Late(Duration::from_millis(rng.u64(20..240))));
                sleep(long).await;
                EventKind::LinkDelayed
            }
            _ => {
                engine.is_store_paused.send_replace(true);
                sleep(long / 4).await;
                engine.is_store_paused.send_replace(false);
                EventKind::StorePaused
            }
        };
        engine.set_notices(replica, Notices::Told);
        let (detail, ended_at_us) = (format!("replica-{}", replica + 1), recorder.now_us());
        recorder.add(&Line::Event(Event { kind, detail, began_at_us, ended_at_us })).unwrap();
    }
}
