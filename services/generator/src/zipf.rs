use rand::Rng;

/// Ranks by Zipf's law: rank k is drawn with a probability in proportion to 1 / (k + 1)^exponent.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    /// `ranks`: at least 1.
    pub(crate) fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=ranks.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Self { cumulated }
    }

    pub(crate) fn draw(&self, rng: &mut impl Rng) -> usize {
        let sum = self.cumulated.last().copied().unwrap_or(1.0);
        let point = rng.random::<f64>() * sum;
        self.cumulated.partition_point(|&cumulated| cumulated <= point).min(self.cumulated.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_first_ranks_are_drawn_most() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let zipf = Zipf::new(100, 1.0);
        let mut drawn = [0_u32; 100];
        for _ in 0..100_000 {
            drawn[zipf.draw(&mut rng)] += 1;
        }
        // The first of 100 has 1 / H(100) = 19.3 %, the tenth a tenth of it.
        assert!((18_500..20_100).contains(&drawn[0]), "{}", drawn[0]);
        assert!((1_700..2_200).contains(&drawn[9]), "{}", drawn[9]);
        assert!(drawn[99] > 0);
    }
}
