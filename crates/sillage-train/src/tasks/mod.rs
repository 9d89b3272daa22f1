//! Synthetic tasks: families of sequences that ask for one ability each.
//!
//! A [`TaskConfig`] is the `[data.task]` section of a training configuration.
//! The same settings with another length make the extrapolation test
//! ([`TaskConfig::at_length`]), and another seed makes the held-out samples.
//! Sequences are made on demand from a seed and an index, are the same on
//! every machine, and may differ in length. Token ids are dense from 0.
//!
//! # `mqar`: multi-query associative recall
//! Arora and others, "Zoology" (2023), after `multiquery_ar.py` of
//! HazyResearch/zoology. A sequence of `length` tokens starts with `pairs`
//! keys, each followed by its value. No key and no value occurs in two pairs;
//! keys come from `1..vocab/2`, values from `vocab/2..vocab`. The rest is cut
//! into slots of two tokens; each key reappears once at the start of a slot,
//! drawn without repetition with weight `i ^ (power_a - 1)` for the i-th slot,
//! and only there the key's value is the target. All other tokens are 0 or, with
//! `random_non_queries`, uniform over the whole vocabulary (so they may equal a
//! key; they are not scored). Same as published with one pass over the pairs.
//! The repository's default fills at random; the configuration of the paper's
//! second figure sets `random_non_queries = false`. `mixture` adds sizes, as the
//! repository's later configurations do, which train on several and test on each.
//!
//! # `copy`: copying
//! Jelassi and others, "Repeat After Me" (2024), after `synthetic_exps` of
//! sjelassi/transformers_ssm_copy. Tokens: begin, a string of
//! uniform letters of uniform length, a separator, the string again. Targets
//! are the second string and the end token; `score_end = false` leaves the end
//! out, as the published accuracies do. `context` packs examples into a fixed
//! number of tokens as in training there (220); the last is cut and not scored.
//! Published training lengths go up to 50 (the repository's default starts at
//! 8, ours at 1), and tests fix one length up to 1,000.
//!
//! # `shuffled-copy`: copying without the help of language, and look-up
//! Four things go by that name or stand in for it, so `variant` must say which.
//! `text` is the paper's own: windows of prose with their tokens in random
//! order, copied in that order (there with pretrained models and C4; here over
//! the file `corpus`). `permutation` is its synthetic twin: different letters
//! in random order, so that no letter repeats and one-letter look-up suffices.
//! `suffix-ngram` and `prefix-ngram` are the paper's n-gram look-up: the n-gram
//! stands after or before the string, and the answer is what follows it in the
//! string. The repository may ask for an n-gram that occurs twice; here one
//! that occurs once is asked for if there is one, otherwise the first
//! occurrence counts, and the last possible places are not left out.
//!
//! # `phonebook`: phonebook look-up
//! Jelassi and others (2024), after `pretrained_exps` of the same repository;
//! also Waleffe and others (2024). A book of uniformly many entries: first
//! name, last name, colon, number, line end; the first digit of a number is 6
//! to 9. Then an empty line, `shots` entries of the book again, an empty line,
//! and another entry's name and colon; its number is the target. Differences:
//! names are two tokens of `names` first and last names each instead of English
//! text, a digit is always one token, and no two people share a name (there they
//! might). `reversed` puts the name asked for before the book as well,
//! after the reversed phonebook of Waleffe and others, whose prompts are prose.
//!
//! # `selective-copy`: selective copying
//! Gu and Dao, "Mamba" (2023), section 4.1 and appendix E, layout after the
//! copying data of the S4 repository with variable spacing. Among `length`
//! tokens of noise (0), `data` data tokens stand at random places; then follow
//! as many markers, whose targets are the data tokens in order. The paper's
//! vocabulary of 16 counts the noise token; in the S4 generator it also counts
//! the marker, as here, which leaves 14 data tokens. The paper says length 4,096 without
//! saying whether it counts the markers; here it does not.
//!
//! # `induction`: induction heads
//! Gu and Dao (2023), appendix E, layout after the generator of
//! HazyResearch/safari. Uniform tokens; a special one stands at a random place
//! (never among the last three before the end) and again at the end, where the
//! target is the token that followed it. Published: vocabulary 16, trained at 256, tested
//! at 64 to 1,048,576. Differences: the special token is one of the 16 and there
//! is no second, unused special token (safari reserves one for another task);
//! only the end is scored (safari's training loss covers all tokens).
//!
//! # `needle`: a needle in prose
//! After Kamradt's needle-in-a-haystack test and the pass-key tests. A random
//! window of the prose, a needle of given tokens around a random number
//! inserted at a uniform depth between `min_depth` and `max_depth`, the
//! question at the end, the number as target. Depths count tokens, not
//! sentences. Equal depths fix the place, for maps by depth and length.
//!
//! # `parity`
//! Delétang and others (2022), as run by xLSTM (Beck and others, 2024) and by
//! Grazzi and others, "Unlocking State-Tracking in Linear RNNs Through Negative
//! Eigenvalues" (2024). Uniform bits; the target after the last is whether
//! the ones are odd. Lengths count the answer, as in xLSTM's generator: 3
//! to 40 in training and 40 to 256 in tests. `score = "every"` scores each
//! prefix instead, which teaches faster and is not published there. Tokens are
//! 0 and 1; theirs are shifted by a padding token.
//!
//! # `modular-arithmetic`
//! From the same three papers, modulo 5. Without brackets: numbers
//! and `+`, `-`, `*` in turn with the usual precedence, then `=`, whose target
//! is the value; sequences have odd lengths that count the answer (xLSTM's
//! generator). With brackets: Delétang's grammar, where an expression of length
//! 1 to 4 is `d`, `-d`, `(d)` or `(-d)` and a longer one is `(left op right)`
//! with the lengths of the sides uniform; no products unless `multiply = true`
//! (the published default); lengths count the answer and one padding token, and
//! are at least 5 (the generator of Grazzi and others). Token ids are ours:
//! numbers, then `+ - * = ( )`.
//!
//! # `symmetric-group`: word problems of S3 and S5
//! Merrill and others, "The Illusion of State in State-Space Models" (2024),
//! after jopetty/word-problem. Uniform permutations of `n` things, one a token,
//! numbered in lexicographic order with the identity first; the target after
//! each is the product so far. The product of `p` and then `q` is `p` after
//! `q`: the thing at place `i` is `p[q[i]]`. Published sequences have a fixed
//! length and do not repeat; here lengths are uniform in a range and
//! repetition is left to chance.

mod arithmetic;
mod copying;
mod corpus;
mod group;
mod mqar;
mod needle;
mod phonebook;
mod random;
mod selective;
#[cfg(test)]
mod tests;

pub use arithmetic::{ModularArithmeticConfig, ParityConfig};
pub use copying::{CopyConfig, ShuffledCopyConfig, ShuffledVariant};
pub use corpus::Corpus;
pub use group::SymmetricGroupConfig;
pub use mqar::MqarConfig;
pub use needle::NeedleConfig;
pub use phonebook::PhonebookConfig;
pub use selective::{InductionConfig, SelectiveCopyConfig};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Target of a position that is not scored.
pub const UNSCORED: u32 = u32::MAX;

/// Longest sequence (16 million tokens) and largest number of entries.
const MAX_LENGTH: usize = 1 << 24;
/// Largest vocabulary.
const MAX_VOCAB: usize = 1 << 24;

/// One sequence; `targets[i]` is what should follow `tokens[i]`, or [`UNSCORED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What the model reads.
    pub tokens: Vec<u32>,
    /// What it should say after each token; as many as there are tokens.
    pub targets: Vec<u32>,
}

/// A family of sequences made from a seed.
pub trait Task: Send + Sync {
    /// Size of the vocabulary: every token and target is below it.
    fn vocab(&self) -> usize;

    /// Accuracy of guessing evenly among the possible answers; scaled accuracy
    /// is `(accuracy - chance) / (1 - chance)`.
    fn chance(&self) -> f64;

    /// Sample `index` of stream `seed` (train and test streams use different
    /// seeds). Same arguments, same sample, on every machine.
    fn sample(&self, seed: u64, index: u64) -> Sample;
}

/// Which positions of a state-tracking task are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The last one only.
    #[default]
    End,
    /// Each one.
    Every,
}

/// The `[data.task]` section of a training configuration, such as
/// `name = "mqar", length = 256, pairs = 16, vocab = 8192`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TaskConfig {
    /// Multi-query associative recall.
    Mqar(MqarConfig),
    /// Copying.
    Copy(CopyConfig),
    /// Copying of shuffled strings, or n-gram look-up.
    ShuffledCopy(ShuffledCopyConfig),
    /// Phonebook look-up.
    Phonebook(PhonebookConfig),
    /// Selective copying.
    SelectiveCopy(SelectiveCopyConfig),
    /// Induction heads.
    Induction(InductionConfig),
    /// A needle in prose.
    Needle(NeedleConfig),
    /// Parity.
    Parity(ParityConfig),
    /// Modular arithmetic, with or without brackets.
    ModularArithmetic(ModularArithmeticConfig),
    /// Word problem of a symmetric group.
    SymmetricGroup(SymmetricGroupConfig),
}

impl TaskConfig {
    /// Checks the settings and makes the task; reads the corpus where there is one.
    ///
    /// # Errors
    /// Names the setting that is wrong and what to do about it.
    pub fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        match self {
            Self::Mqar(config) => config.build(),
            Self::Copy(config) => config.build(),
            Self::ShuffledCopy(config) => config.build(),
            Self::Phonebook(config) => config.build(),
            Self::SelectiveCopy(config) => config.build(),
            Self::Induction(config) => config.build(),
            Self::Needle(config) => config.build(),
            Self::Parity(config) => config.build(),
            Self::ModularArithmetic(config) => config.build(),
            Self::SymmetricGroup(config) => config.build(),
        }
    }

    /// The same task at exactly this length, in the task's own unit: tokens,
    /// letters of the string, or entries of the phonebook. Packing is dropped,
    /// so that a sample is one sequence.
    #[must_use]
    pub fn at_length(&self, length: usize) -> Self {
        let mut config = self.clone();
        let (min, max) = match &mut config {
            Self::Mqar(config) => {
                return Self::Mqar(MqarConfig {
                    length,
                    mixture: vec![],
                    ..*config
                });
            }
            Self::SelectiveCopy(config) => {
                return Self::SelectiveCopy(SelectiveCopyConfig { length, ..*config });
            }
            Self::Induction(config) => {
                return Self::Induction(InductionConfig { length, ..*config });
            }
            Self::Needle(config) => {
                config.length = length;
                return Self::Needle(config.clone());
            }
            Self::Copy(config) => {
                config.context = None;
                (&mut config.min_length, &mut config.max_length)
            }
            Self::ShuffledCopy(config) => {
                config.context = None;
                (&mut config.min_length, &mut config.max_length)
            }
            Self::Phonebook(config) => (&mut config.min_entries, &mut config.max_entries),
            Self::Parity(config) => (&mut config.min_length, &mut config.max_length),
            Self::ModularArithmetic(config) => (&mut config.min_length, &mut config.max_length),
            Self::SymmetricGroup(config) => (&mut config.min_length, &mut config.max_length),
        };
        (*min, *max) = (length, length);
        config
    }
}

/// What can be wrong with the settings of a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A setting is out of its range.
    #[error("task {task}: `{field}` is {found}; it must be {must}")]
    OutOfRange {
        /// The task.
        task: &'static str,
        /// The setting.
        field: &'static str,
        /// What was given.
        found: String,
        /// What is allowed, in words.
        must: String,
    },
    /// A lower bound is above its upper bound.
    #[error("task {task}: `{min}` is above `{max}`; exchange them")]
    Reversed {
        /// The task.
        task: &'static str,
        /// The lower bound.
        min: &'static str,
        /// The upper bound.
        max: &'static str,
    },
    /// More is asked for than the length holds.
    #[error("task {task}: {what} need {needs} tokens, but there are {length}; {cure}")]
    DoesNotFit {
        /// The task.
        task: &'static str,
        /// What does not fit.
        what: String,
        /// Tokens it needs.
        needs: usize,
        /// Tokens there are.
        length: usize,
        /// What to do.
        cure: &'static str,
    },
    /// There are too few different tokens for what is asked.
    #[error("task {task}: `{field}` is {found}, too few for {what}; {cure}")]
    TooFewTokens {
        /// The task.
        task: &'static str,
        /// The setting.
        field: &'static str,
        /// What was given.
        found: usize,
        /// What is asked for.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// A setting that this task needs is absent or empty.
    #[error("task {task}: `{field}` is missing; {cure}")]
    Missing {
        /// The task.
        task: &'static str,
        /// The setting.
        field: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// The corpus could not be read.
    #[error("cannot read the corpus {}: {source}; check `corpus`", path.display())]
    Corpus {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The corpus is not a sequence of 16-bit numbers.
    #[error(
        "the corpus {} has {bytes} bytes, an odd number; write token ids as little-endian 16-bit numbers",
        path.display()
    )]
    CorpusShape {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// The corpus is shorter than what one sample takes from it.
    #[error(
        "task {task}: the corpus has {found} tokens, but a sample takes {needs}; give a longer corpus or lower the length"
    )]
    CorpusTooShort {
        /// The task.
        task: &'static str,
        /// Tokens in the corpus.
        found: usize,
        /// Tokens a sample takes.
        needs: usize,
    },
    /// A token id is not in the vocabulary.
    #[error(
        "task {task}: `{field}` has token {token}, but the vocabulary has {vocab}; use the tokenizer that made these ids"
    )]
    TokenOutsideVocabulary {
        /// The task.
        task: &'static str,
        /// Where the token stands.
        field: &'static str,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
}

fn out_of_range(
    task: &'static str,
    field: &'static str,
    found: impl ToString,
    must: impl Into<String>,
) -> TaskError {
    TaskError::OutOfRange {
        task,
        field,
        found: found.to_string(),
        must: must.into(),
    }
}

fn check_length(
    task: &'static str,
    field: &'static str,
    length: usize,
    least: usize,
) -> Result<(), TaskError> {
    if !(least..=MAX_LENGTH).contains(&length) {
        let must = format!("from {least} to {MAX_LENGTH}");
        return Err(out_of_range(task, field, length, must));
    }
    Ok(())
}

/// Checks the bounds of a length: both in range and in order.
fn check_range(
    task: &'static str,
    (min, max): (&'static str, &'static str),
    (low, high): (usize, usize),
    least: usize,
) -> Result<(), TaskError> {
    check_length(task, min, low, least)?;
    check_length(task, max, high, least)?;
    if low > high {
        return Err(TaskError::Reversed { task, min, max });
    }
    Ok(())
}
