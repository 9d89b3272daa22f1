//! Random choices whose outcome is fixed by (seed, index) on every machine.
//!
//! Only integer arithmetic and IEEE additions, multiplications and divisions
//! are used: no function of the platform's mathematics library, whose last
//! digit differs from machine to machine.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use std::collections::BTreeSet;

/// The random numbers of one sample.
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    /// The numbers of sample `index` of stream `seed`. Within a stream no two
    /// indices share a state, because every step of the mix is a bijection.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let stream = mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
        let high = mix(stream ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let low = mix(high.wrapping_add(0x9E37_79B9_7F4A_7C15));
        Self(Pcg64Mcg::new((u128::from(high) << 64) | u128::from(low)))
    }

    /// Uniform in `0..limit`, without bias (Lemire's method). `limit` 0 counts as 1.
    pub(crate) fn below_u64(&mut self, limit: u64) -> u64 {
        let limit = limit.max(1);
        let rejected = limit.wrapping_neg() % limit;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(limit);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.below_u64(limit as u64) as usize
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A token uniform in `0..limit`.
    pub(crate) fn token(&mut self, limit: usize) -> u32 {
        self.below(limit) as u32
    }

    /// Puts `items` in random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// `count` different numbers below `limit` in ascending order, every set
    /// as likely (Floyd's method). At most `limit` of them.
    pub(crate) fn ascending(&mut self, limit: u64, count: usize) -> Vec<u64> {
        let count = (count as u64).min(limit);
        let mut chosen = BTreeSet::new();
        for top in limit - count..limit {
            let candidate = self.below_u64(top + 1);
            if !chosen.insert(candidate) {
                chosen.insert(top);
            }
        }
        chosen.into_iter().collect()
    }

    /// `count` different numbers below `limit`, in random order.
    pub(crate) fn distinct(&mut self, limit: u64, count: usize) -> Vec<u64> {
        let mut chosen = self.ascending(limit, count);
        self.shuffle(&mut chosen);
        chosen
    }
}

/// The finaliser of SplitMix64: a bijection that lets every bit reach every bit.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// An urn of numbered balls with weights; balls are drawn without putting back.
#[derive(Clone)]
pub(crate) struct Urn {
    /// Fenwick tree of the weights still inside.
    tree: Vec<u64>,
    weights: Vec<u64>,
    total: u64,
}

impl Urn {
    /// Balls `0..count` with weights proportional to `(i + 1) ^ exponent`.
    pub(crate) fn power_law(count: usize, exponent: f64) -> Self {
        let powers: Vec<f64> = (1..=count).map(|i| power(i as f64, exponent)).collect();
        let largest = powers.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = 2f64.powi(38);
        Self::new(
            powers
                .iter()
                .map(|p| ((p / largest * scale).round() as u64).max(1))
                .collect(),
        )
    }

    fn new(weights: Vec<u64>) -> Self {
        let mut tree = vec![0u64; weights.len() + 1];
        for (i, &weight) in weights.iter().enumerate() {
            tree[i + 1] = tree[i + 1].saturating_add(weight);
            let above = (i + 1) + lowest_bit(i + 1);
            if above < tree.len() {
                tree[above] = tree[above].saturating_add(tree[i + 1]);
            }
        }
        let total = weights.iter().sum();
        Self {
            tree,
            weights,
            total,
        }
    }

    /// Draws a ball; `None` when the urn is empty.
    pub(crate) fn draw(&mut self, random: &mut Random) -> Option<usize> {
        if self.total == 0 {
            return None;
        }
        let mut rest = random.below_u64(self.total);
        let mut ball = 0;
        let mut step = self.weights.len().next_power_of_two();
        while step > 0 {
            if ball + step < self.tree.len() && self.tree[ball + step] <= rest {
                ball += step;
                rest -= self.tree[ball];
            }
            step /= 2;
        }
        let weight = std::mem::take(&mut self.weights[ball]);
        self.total -= weight;
        let mut node = ball + 1;
        while node < self.tree.len() {
            self.tree[node] -= weight;
            node += lowest_bit(node);
        }
        Some(ball)
    }
}

fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

/// `base ^ exponent` for `base` of 1 or more.
fn power(base: f64, exponent: f64) -> f64 {
    exp(exponent * ln(base))
}

/// Natural logarithm of 1 or more.
fn ln(value: f64) -> f64 {
    let mut mantissa = value;
    let mut halvings = 0.0;
    while mantissa > 1.5 {
        mantissa /= 2.0;
        halvings += 1.0;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let mut term = t;
    let mut sum = 0.0;
    for odd in (1..32).step_by(2) {
        sum += term / f64::from(odd);
        term *= t * t;
    }
    2.0 * sum + halvings * std::f64::consts::LN_2
}

/// The exponential function.
fn exp(value: f64) -> f64 {
    let small = value / 1024.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..14 {
        term *= small / f64::from(k);
        sum += term;
    }
    for _ in 0..10 {
        sum *= sum;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let first = |seed, index| Random::new(seed, index).below_u64(u64::MAX);
        assert_eq!(first(1, 2), first(1, 2));
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            for index in 0..64 {
                assert!(seen.insert(first(seed, index)), "{seed} {index}");
            }
        }
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut random = Random::new(3, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6)] += 1;
        }
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(7, 7), 7);
        let ends: BTreeSet<usize> = (0..200).map(|_| random.between(3, 5)).collect();
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn distinct_numbers_are_distinct_and_every_one_is_as_likely() {
        let mut counts = [0u32; 5];
        for index in 0..10_000 {
            let chosen = Random::new(4, index).distinct(5, 3);
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 3);
            counts[chosen[0] as usize] += 1;
        }
        assert!(
            counts.iter().all(|c| (1_850..2_150).contains(c)),
            "{counts:?}"
        );
        assert_eq!(Random::new(4, 0).ascending(4, 9), [0, 1, 2, 3]);
    }

    #[test]
    fn power_agrees_with_the_library() {
        for base in [1.0, 1.5, 2.0, 3.0, 97.0, 65_536.0] {
            for exponent in [-0.99, -0.5, 0.0, 1.0, 2.0] {
                let (ours, theirs) = (power(base, exponent), f64::powf(base, exponent));
                assert!(
                    (ours / theirs - 1.0).abs() < 1e-12,
                    "{base} ^ {exponent}: {ours} {theirs}"
                );
            }
        }
    }

    #[test]
    fn an_urn_gives_each_ball_once_and_by_weight() {
        let urn = Urn::power_law(13, -0.99);
        let mut first = [0u32; 13];
        for index in 0..40_000 {
            let mut urn = urn.clone();
            let mut random = Random::new(5, index);
            let drawn: Vec<usize> = std::iter::from_fn(|| urn.draw(&mut random)).collect();
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 13);
            assert_eq!(drawn.len(), 13);
            first[drawn[0]] += 1;
        }
        let sum: f64 = (1..=13).map(|i| f64::powf(f64::from(i), -0.99)).sum();
        for (ball, &count) in first.iter().enumerate() {
            let expected = 40_000.0 * f64::powf((ball + 1) as f64, -0.99) / sum;
            let spread = 5.0 * expected.sqrt();
            assert!(
                (f64::from(count) - expected).abs() < spread,
                "ball {ball}: {count} instead of {expected}"
            );
        }
    }
}
