//! Parity, and modular arithmetic with and without brackets.

use super::random::Random;
use super::{Sample, Score, Task, TaskError, UNSCORED, check_range, out_of_range};
use serde::{Deserialize, Serialize};

/// Settings of the parity task (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityConfig {
    /// Shortest sequence, its answer counted: one more than the bits read.
    pub min_length: usize,
    /// Longest sequence, its answer counted.
    pub max_length: usize,
    /// Which positions are scored.
    #[serde(default)]
    pub score: Score,
}

impl ParityConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let bounds = (self.min_length, self.max_length);
        check_range("parity", ("min_length", "max_length"), bounds, 2)?;
        Ok(Box::new(Parity(self.clone())))
    }
}

struct Parity(ParityConfig);

impl Task for Parity {
    fn vocab(&self) -> usize {
        2
    }

    fn chance(&self) -> f64 {
        0.5
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let bits = random.between(self.0.min_length, self.0.max_length) - 1;
        let tokens: Vec<u32> = (0..bits).map(|_| random.token(2)).collect();
        let mut parity = 0;
        let mut targets: Vec<u32> = tokens
            .iter()
            .map(|bit| {
                parity ^= bit;
                parity
            })
            .collect();
        if self.0.score == Score::End {
            targets[..bits - 1].fill(UNSCORED);
        }
        Sample { tokens, targets }
    }
}

/// Settings of modular arithmetic (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModularArithmeticConfig {
    /// Whether expressions are nested by brackets; otherwise they are flat and
    /// products bind before sums.
    pub brackets: bool,
    /// Shortest sequence as published: what is read, the answer and, with
    /// brackets, one padding token.
    pub min_length: usize,
    /// Longest sequence, counted in the same way.
    pub max_length: usize,
    /// Numbers run from 0 to one less than this.
    #[serde(default = "default_modulus")]
    pub modulus: usize,
    /// Whether there are products; as published they are there without
    /// brackets and not with them.
    #[serde(default)]
    pub multiply: Option<bool>,
}

fn default_modulus() -> usize {
    5
}

impl ModularArithmeticConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        const TASK: &str = "modular-arithmetic";
        let bounds = (self.min_length, self.max_length);
        check_range(TASK, ("min_length", "max_length"), bounds, 3)?;
        if !(2..=1000).contains(&self.modulus) {
            return Err(out_of_range(
                TASK,
                "modulus",
                self.modulus,
                "from 2 to 1000",
            ));
        }
        let operators = if self.multiply.unwrap_or(!self.brackets) {
            3
        } else {
            2
        };
        Ok(Box::new(ModularArithmetic {
            config: self.clone(),
            operators,
        }))
    }
}

/// Operators in the order of their tokens, which follow the numbers.
#[derive(Clone, Copy)]
enum Operator {
    Add,
    Subtract,
    Multiply,
}

impl Operator {
    fn draw(random: &mut Random, count: usize) -> Self {
        match random.below(count) {
            0 => Self::Add,
            1 => Self::Subtract,
            _ => Self::Multiply,
        }
    }

    fn apply(self, left: u32, right: u32, modulus: u32) -> u32 {
        match self {
            Self::Add => (left + right) % modulus,
            Self::Subtract => (left + modulus - right) % modulus,
            Self::Multiply => (left * right) % modulus,
        }
    }
}

/// What is still to be written of a bracketed expression.
enum Work {
    Expression(usize),
    Token(u32),
    Apply(Operator),
}

struct ModularArithmetic {
    config: ModularArithmeticConfig,
    operators: usize,
}

impl ModularArithmetic {
    fn modulus(&self) -> u32 {
        self.config.modulus as u32
    }

    /// A flat expression and its value: a running sum of running products.
    fn flat(&self, random: &mut Random, length: usize) -> (Vec<u32>, u32) {
        let modulus = self.modulus();
        let first = random.token(self.config.modulus);
        let mut tokens = vec![first];
        let (mut sum, mut sign, mut product) = (0, Operator::Add, first);
        while tokens.len() < length {
            let operator = Operator::draw(random, self.operators);
            let number = random.token(self.config.modulus);
            tokens.extend([modulus + operator as u32, number]);
            if let Operator::Multiply = operator {
                product = operator.apply(product, number, modulus);
            } else {
                sum = sign.apply(sum, product, modulus);
                (sign, product) = (operator, number);
            }
        }
        (tokens, sign.apply(sum, product, modulus))
    }

    /// A bracketed expression of exactly `length` tokens and its value. The
    /// lengths of the two sides of an operator are split evenly at random.
    fn nested(&self, random: &mut Random, length: usize) -> (Vec<u32>, u32) {
        let modulus = self.modulus();
        let (minus, open, close) = (modulus + 1, modulus + 4, modulus + 5);
        let mut tokens = Vec::with_capacity(length);
        let mut values = Vec::new();
        let mut work = vec![Work::Expression(length)];
        while let Some(next) = work.pop() {
            match next {
                Work::Token(token) => tokens.push(token),
                Work::Apply(operator) => {
                    if let (Some(right), Some(left)) = (values.pop(), values.pop()) {
                        values.push(operator.apply(left, right, modulus));
                    }
                }
                Work::Expression(short) if short < 5 => {
                    let number = random.token(self.config.modulus);
                    let negated = short % 2 == 0;
                    let inner = [minus, number];
                    let inner = if negated { &inner[..] } else { &inner[1..] };
                    tokens.extend((short > 2).then_some(open));
                    tokens.extend(inner);
                    tokens.extend((short > 2).then_some(close));
                    values.push(if negated {
                        Operator::Subtract.apply(0, number, modulus)
                    } else {
                        number
                    });
                }
                Work::Expression(long) => {
                    let left = random.between(1, long - 4);
                    let operator = Operator::draw(random, self.operators);
                    work.extend([
                        Work::Apply(operator),
                        Work::Token(close),
                        Work::Expression(long - 3 - left),
                        Work::Token(modulus + operator as u32),
                        Work::Expression(left),
                        Work::Token(open),
                    ]);
                }
            }
        }
        (tokens, values.pop().unwrap_or(0))
    }
}

impl Task for ModularArithmetic {
    fn vocab(&self) -> usize {
        self.config.modulus + if self.config.brackets { 6 } else { 4 }
    }

    fn chance(&self) -> f64 {
        1.0 / self.config.modulus as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let (min, max) = (self.config.min_length, self.config.max_length);
        let (mut tokens, value) = if self.config.brackets {
            let length = random.between(min, max).max(5);
            self.nested(&mut random, length - 3)
        } else {
            let length = 2 * random.between(min.div_ceil(2), max.div_ceil(2)) - 1;
            self.flat(&mut random, length - 2)
        };
        let mut targets = vec![UNSCORED; tokens.len()];
        tokens.push(self.modulus() + 3);
        targets.push(value);
        Sample { tokens, targets }
    }
}
