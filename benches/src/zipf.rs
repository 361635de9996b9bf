//! Keys as users ask for them: few often, many seldom.

/// Draws 0..n, where k is drawn in proportion to 1 / (k + 1)^exponent.
#[derive(Clone)]
pub(crate) struct Zipf {
    /// Cumulated probabilities.
    cumulated: std::sync::Arc<[f64]>,
}

impl Zipf {
    pub(crate) fn new(n: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (0..n)
            .map(|k| {
                #[expect(clippy::cast_precision_loss, reason = "ranks are far below 2^53")]
                let rank = (k + 1) as f64;
                sum += rank.powf(-exponent);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|value| *value /= sum);
        Self { cumulated: cumulated.into() }
    }

    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let drawn = random.f64();
        self.cumulated.partition_point(|value| *value < drawn).min(self.cumulated.len() - 1)
    }
}
