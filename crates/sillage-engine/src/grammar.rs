//! Constrained decoding: only what fits a JSON schema can be written.
//!
//! The grammars are `llguidance`'s. A [`Vocabulary`] is made once a model, a
//! [`Grammar`] once a request; before every token it says which tokens keep the
//! text within the schema, and all others lose their logits. A text that nears
//! the most tokens that it may have is brought to its end: from then on tokens
//! that close something go first.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use sillage_formats::Tokenizer;
use std::sync::Arc;

/// Why there can be no constrained decoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// The model has no token that ends a text.
    #[error("this model has no token that ends a text, so its text cannot be held to a schema")]
    NoEnd,
    /// The library refuses the tokenizer.
    #[error("this model's tokenizer cannot be used for constrained decoding: {0}")]
    Vocabulary(String),
    /// The schema is not one, or asks for what cannot be.
    #[error("the JSON schema cannot be used: {0}")]
    Schema(String),
}

/// A model's tokens, arranged for grammars. Shared by all requests.
pub struct Vocabulary {
    factory: ParserFactory,
    end: u32,
    /// How well each token closes what is open: 0 is best.
    closing: Arc<[u8]>,
    /// A token that can stand in a string and nowhere else.
    letter: Option<u32>,
    digits: Arc<[Digits]>,
}

/// Where a token's bytes are digits.
#[derive(Clone, Copy, Debug)]
struct Digits {
    /// The first is one, or a part of a number.
    first: bool,
    /// All are.
    all: bool,
    /// So many at the end.
    last: usize,
    /// There is an exponent: doubles end long before JSON's numbers do.
    exponent: bool,
}

impl Digits {
    fn of(bytes: &[u8]) -> Self {
        let is = |b: &u8| b.is_ascii_digit();
        let last = bytes.iter().rev().take_while(|b| is(b)).count();
        let rest = &bytes[bytes.iter().take_while(|b| is(b)).count()..];
        Self {
            exponent: rest.first().is_some_and(|b| b"eE".contains(b)),
            first: bytes.first().is_some_and(|b| is(b) || *b == b'.'),
            all: last == bytes.len() && last > 0,
            last,
        }
    }
}

/// Digits in a row after which a number has to end: more than a double holds.
const DIGITS: usize = 15;
/// The class of the mark that ends strings.
const QUOTE: u8 = 3;

/// How deep a schema may go, how much of it there may be, and how often it may
/// refer to itself: the compiler is recursive, and schemas come from anywhere.
const DEEPEST: usize = 64;
const MOST_PARTS: usize = 20_000;
const MOST_REFERENCES: usize = 512;
const MOST_REQUIRED: usize = 1_000;
/// The stack on which schemas within those bounds are compiled with room to spare.
const STACK: usize = 256 << 20;

/// Whether a schema is within bounds.
fn bounded(schema: &Value) -> Result<(), GrammarError> {
    let over = |what: String| Err(GrammarError::Schema(format!("{what}: make it simpler")));
    let (mut parts, mut references) = (0, 0);
    let mut open = vec![(schema, 0)];
    while let Some((value, depth)) = open.pop() {
        parts += 1;
        if depth > DEEPEST || parts > MOST_PARTS {
            return over(format!(
                "it is deeper than {DEEPEST} or has more than {MOST_PARTS} parts"
            ));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|v| (v, depth + 1))),
            Value::Object(fields) => {
                references += usize::from(fields.contains_key("$ref"));
                let required = fields.get("required").and_then(Value::as_array);
                if required.is_some_and(|r| r.len() > MOST_REQUIRED) {
                    return over(format!("it requires more than {MOST_REQUIRED} properties"));
                }
                open.extend(fields.values().map(|v| (v, depth + 1)));
            }
            _ => {}
        }
        if references > MOST_REFERENCES {
            return over(format!("it refers more than {MOST_REFERENCES} times"));
        }
    }
    Ok(())
}

/// How well a token closes what is open.
fn closing(bytes: &[u8]) -> u8 {
    match bytes {
        b"}" => 1,
        b"]" => 2,
        b"\"" => QUOTE,
        [b'"' | b'}' | b']', ..] if bytes.iter().all(|b| b"\"}]".contains(b)) => 4,
        [b'0'..=b'9' | b',' | b':'] => 5,
        _ => 6,
    }
}

/// Tokens within which even a long schema can be brought to its end.
fn reserve(schema: &Value, max_tokens: usize) -> usize {
    let needed = 64 + schema.to_string().len() / 3;
    needed.min(max_tokens / 4 * 3)
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// The tokens of `tokenizer` as a model with `vocab` logits knows them;
    /// `end_tokens` are those that end a text.
    ///
    /// # Errors
    /// [`GrammarError::NoEnd`] and [`GrammarError::Vocabulary`].
    pub fn new(
        tokenizer: &Tokenizer,
        vocab: usize,
        end_tokens: &[u32],
    ) -> Result<Self, GrammarError> {
        let &end = end_tokens.first().ok_or(GrammarError::NoEnd)?;
        let refused = |e: &dyn std::fmt::Display| GrammarError::Vocabulary(e.to_string());
        let count = u32::try_from(vocab).map_err(|e| refused(&e))?;
        let words: Vec<Vec<u8>> = (0..count)
            .map(|id| match tokenizer.token_bytes(id) {
                // The library knows special tokens by a byte that is in no text.
                Some(bytes) if tokenizer.is_special(id) => [&[0xff], bytes].concat(),
                Some(bytes) => bytes.to_vec(),
                None => Vec::new(),
            })
            .collect();
        let mut closing: Vec<u8> = words.iter().map(|word| closing(word)).collect();
        if let Some(class) = closing.get_mut(end as usize) {
            *class = 0;
        }
        let trie = TokTrie::from(&TokRxInfo::new(count, end), &words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| refused(&e))?;
        factory.quiet();
        Ok(Self {
            factory,
            end,
            closing: closing.into(),
            digits: words.iter().map(|word| Digits::of(word)).collect(),
            letter: words
                .iter()
                .position(|word| word == b"x")
                .map(|id| id as u32),
        })
    }

    /// A grammar that lets only instances of `schema` (JSON Schema) be written, in
    /// `max_tokens` tokens if that can be.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] with the library's reason.
    pub fn json_schema(&self, schema: &Value, max_tokens: usize) -> Result<Grammar, GrammarError> {
        let refused = |e: String| GrammarError::Schema(e);
        bounded(schema)?;
        let reserve = reserve(schema, max_tokens);
        let mut schema = schema.clone();
        if let Value::Object(fields) = &mut schema {
            // Free white space is a place where small models linger.
            fields
                .entry("x-guidance")
                .or_insert_with(|| json!({ "whitespace_flexible": false, "lenient": true }));
        }
        let compile = || {
            let grammar = TopLevelGrammar::from_json_schema(schema);
            Matcher::new(self.factory.create_parser(grammar))
        };
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let compiling = thread.spawn_scoped(scope, compile);
            let compiling = compiling.map_err(|e| refused(e.to_string()))?;
            let failed = |_| refused("the compiler failed on it".to_owned());
            compiling.join().map_err(failed)
        })?;
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            None => Ok(Grammar {
                matcher,
                end: self.end,
                closing: Arc::clone(&self.closing),
                letter: self.letter,
                digits: Arc::clone(&self.digits),
                row: 0,
                free: max_tokens.saturating_sub(reserve),
                began: None,
                seen: 0,
            }),
        }
    }
}

/// A text in the course of being written under a schema.
pub struct Grammar {
    matcher: Matcher,
    end: u32,
    closing: Arc<[u8]>,
    letter: Option<u32>,
    /// Whether each token goes on with a number.
    digits: Arc<[Digits]>,
    /// Digits that were written last, in a row.
    row: usize,
    /// Tokens that may be written before the end is brought about.
    free: usize,
    /// Tokens of the prompt.
    began: Option<usize>,
    /// Tokens of the session when the matcher was last moved on.
    seen: usize,
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}

impl Grammar {
    /// Takes the logits (`[vocab]`) of all tokens that would leave the schema.
    /// `tokens` are all of the session's; those of the first call are the
    /// prompt, to which the schema does not apply.
    pub fn mask(&mut self, tokens: &[u32], logits: &mut [f32]) {
        let began = *self.began.get_or_insert(tokens.len());
        let new = tokens.get(self.seen.max(began)..).unwrap_or_default();
        self.seen = tokens.len();
        for digits in new.iter().filter_map(|t| self.digits.get(*t as usize)) {
            self.row = digits.last + if digits.all { self.row } else { 0 };
        }
        let moved = self.matcher.consume_tokens(new);
        let mask = moved.and_then(|()| self.matcher.compute_mask_or_eos());
        let allowed = |id: u32| match &mask {
            Ok(mask) => (id as usize) < mask.len() && mask.is_allowed(id),
            // A grammar that is stuck can only end.
            Err(_) => id == self.end,
        };
        // Within a string, brackets are letters like others.
        let within = self.letter.is_some_and(allowed);
        let class = |id: u32| match self.closing.get(id as usize) {
            Some(&QUOTE) if within => 0,
            Some(&class) => class,
            None => u8::MAX,
        };
        let mut worst = u8::MAX;
        if tokens.len() - began >= self.free {
            let best = (0..logits.len() as u32)
                .filter(|id| allowed(*id))
                .map(class)
                .min();
            worst = best.unwrap_or(worst);
        }
        // A number that runs on has to end, where it can.
        let goes_on = |id: u32| match self.digits.get(id as usize) {
            Some(d) => (d.first && self.row >= DIGITS) || (d.exponent && !within),
            None => false,
        };
        let in_number = self.row > 0;
        let ends = |id: u32| allowed(id) && !goes_on(id);
        let full = in_number && (0..logits.len() as u32).any(ends);
        for (id, logit) in (0u32..).zip(logits.iter_mut()) {
            if !allowed(id) || class(id) > worst || (full && goes_on(id)) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}
