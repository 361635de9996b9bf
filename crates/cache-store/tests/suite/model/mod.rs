//! Any steps, on a store and on lists that are gone through: both answer alike.

mod plain;
mod run;
mod step;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::{
    run::{Clock, run},
    step::input,
};
use crate::world::World;

/// Cases of one run, unless PROPTEST_CASES says otherwise.
fn cases(usual: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().map_or(usual, |cases| cases.parse().unwrap());
    Config { cases, failure_persistence: None, max_shrink_iters: 5_000, ..Config::default() }
}

/// In memory time stands still but where a step lets it pass, so that every millisecond counts.
pub(crate) fn memory_does_as_the_model_does() {
    const CASES: u32 = 3_000;
    let result = TestRunner::new(cases(CASES)).run(&input(), |(kind, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let run = async { run(&World::memory(), Clock::Paused, &kind, &steps).await };
        runtime.block_on(run).map(drop).map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("memory: {failure}");
    }
}

/// Elsewhere it passes. Most of a run is waiting, so that several are made at once.
pub(crate) async fn a_store_does_as_the_model_does(world: &World) {
    const CASES: u32 = 50;
    const AT_ONCE: usize = 4;
    const UNIT: Duration = Duration::from_millis(60);
    let runtime = tokio::runtime::Handle::current();
    let (all, compared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let runs = || {
        let result = TestRunner::new(cases(CASES)).run(&input(), |(kind, steps)| {
            let run = runtime.block_on(run(world, Clock::Real(UNIT), &kind, &steps)).map_err(TestCaseError::fail)?;
            all.fetch_add(steps.len(), Ordering::Relaxed);
            compared.fetch_add(run, Ordering::Relaxed);
            Ok(())
        });
        if let Err(failure) = result {
            panic!("{}: {failure}", world.name);
        }
    };
    tokio::task::block_in_place(|| std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(runs)))));
    let (all, compared) = (all.into_inner(), compared.into_inner());
    eprintln!("{}: {compared} of {all} steps were in time to be compared", world.name);
    assert!(compared > 0, "{}", world.name);
}
