//! Two sides by turns, and what came of it.

use anyhow::{Result, ensure};

/// What a round did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Units of work a second.
    pub(crate) per_second: f64,
    /// Units of work per second of the server's CPU.
    pub(crate) per_cpu_second: f64,
    /// Median and 99th percentile of the time of a call, in microseconds.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Runs both sides by turns and prints medians and ratios.
pub(crate) fn alternate(
    rounds: usize,
    unit: &str,
    mut ours: impl FnMut() -> Result<Round>,
    mut floor: impl FnMut() -> Result<Round>,
) -> Result<()> {
    ensure!(rounds > 0, "there is at least one round");
    // The first of each warms up and is not counted.
    floor()?;
    ours()?;
    let (mut of_ours, mut of_floor) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_floor.push(floor()?);
        of_ours.push(ours()?);
    }
    print_side("floor", unit, &of_floor);
    print_side("ours", unit, &of_ours);
    let ratio = |pick: fn(&Round) -> f64| median(&of_ours, pick) / median(&of_floor, pick);
    println!(
        "   ratio   {:.3} of the floor's {unit}/s, {:.3} per CPU-second of the server",
        ratio(|round| round.per_second),
        ratio(|round| round.per_cpu_second)
    );
    Ok(())
}

fn print_side(name: &str, unit: &str, rounds: &[Round]) {
    println!(
        "   {name:7} {:>12.0} {unit}/s  {:>12.0} per CPU-second  p50 {:.0} us  p99 {:.0} us",
        median(rounds, |round| round.per_second),
        median(rounds, |round| round.per_cpu_second),
        median(rounds, |round| micros_of(round.p50_us)),
        median(rounds, |round| micros_of(round.p99_us)),
    );
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a call are far below 2^53")]
fn micros_of(value: u64) -> f64 {
    value as f64
}

fn median<T>(rounds: &[T], pick: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
