//! Word problems of the symmetric groups.

use super::random::Random;
use super::{Sample, Score, Task, TaskError, UNSCORED, check_range, out_of_range};
use serde::{Deserialize, Serialize};

const TASK: &str = "symmetric-group";

/// Settings of the word problem of a symmetric group (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymmetricGroupConfig {
    /// How many things are permuted: 2 to 5. S3 and S5 are the published ones.
    pub n: usize,
    /// Fewest permutations in a sequence.
    pub min_length: usize,
    /// Most permutations in a sequence.
    pub max_length: usize,
    /// Which positions are scored.
    #[serde(default = "default_score")]
    pub score: Score,
}

fn default_score() -> Score {
    Score::Every
}

impl SymmetricGroupConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let bounds = (self.min_length, self.max_length);
        check_range(TASK, ("min_length", "max_length"), bounds, 1)?;
        if !(2..=5).contains(&self.n) {
            return Err(out_of_range(TASK, "n", self.n, "from 2 to 5"));
        }
        let elements = permutations(self.n);
        let order = elements.len();
        let mut products = vec![0u32; order * order];
        for (i, left) in elements.iter().enumerate() {
            for (j, right) in elements.iter().enumerate() {
                let product: Vec<usize> = right.iter().map(|&place| left[place]).collect();
                products[i * order + j] = rank(&product);
            }
        }
        Ok(Box::new(SymmetricGroup {
            config: self.clone(),
            order,
            products,
        }))
    }
}

/// Every permutation of `0..n`, in lexicographic order; the identity is the first.
pub(super) fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..n {
        all = all
            .iter()
            .flat_map(|start: &Vec<usize>| {
                let rest = (0..n).filter(|next| !start.contains(next));
                rest.map(|next| start.iter().copied().chain([next]).collect())
            })
            .collect();
    }
    all
}

/// The place of a permutation in lexicographic order.
fn rank(permutation: &[usize]) -> u32 {
    let mut rank = 0;
    for (i, &here) in permutation.iter().enumerate() {
        let smaller = permutation[i + 1..].iter().filter(|&&later| later < here);
        rank = rank * (permutation.len() - i) as u32 + smaller.count() as u32;
    }
    rank
}

struct SymmetricGroup {
    config: SymmetricGroupConfig,
    order: usize,
    /// `products[i * order + j]` is element i after element j.
    products: Vec<u32>,
}

impl Task for SymmetricGroup {
    fn vocab(&self) -> usize {
        self.order
    }

    fn chance(&self) -> f64 {
        1.0 / self.order as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let length = random.between(self.config.min_length, self.config.max_length);
        let tokens: Vec<u32> = (0..length).map(|_| random.token(self.order)).collect();
        let mut state = 0u32;
        let mut targets: Vec<u32> = tokens
            .iter()
            .map(|&token| {
                state = self.products[state as usize * self.order + token as usize];
                state
            })
            .collect();
        if self.config.score == Score::End {
            targets[..length - 1].fill(UNSCORED);
        }
        Sample { tokens, targets }
    }
}
