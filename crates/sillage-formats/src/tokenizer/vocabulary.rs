//! Vocabularies as GGUF files hold them, written as a tokenizer.json.
//!
//! GGUF keeps the tokens, their kinds, and merges or scores, but of the way in which text is cut
//! before merging only a name (`tokenizer.ggml.pre`). The patterns behind the names are those of
//! the models' own tokenizer.json files.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::TokenizerError;

/// GGUF's kinds of tokens.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNKNOWN: i64 = 2;

/// What a GGUF file says about its tokens.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// `gpt2` (byte-level BPE) or `llama` (SentencePiece with byte fallback).
    pub model: String,
    /// Name of the cutting rule; only for `gpt2`.
    pub pre: Option<String>,
    /// The tokens, by id.
    pub tokens: Vec<String>,
    /// Their kinds; empty when all are normal.
    pub kinds: Vec<i64>,
    /// Their scores; only for `llama`.
    pub scores: Vec<f32>,
    /// Merges as `left right`, best first; only for `gpt2`.
    pub merges: Vec<String>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// Whether every text begins with it; `None`: as the model usually does.
    pub add_bos: Option<bool>,
    /// Whether every text ends with the end token.
    pub add_eos: bool,
    /// Whether a text gets a space in front; only for `llama`.
    pub add_space_prefix: Option<bool>,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";

const PRE_KINDS: &str = "default, gpt-2, phi-2, mpt, olmo, gpt-neox, jais, llama-bpe, llama3, llama-v3, falcon3, falcon-h1, lfm2, pixtral, dbrx, smaug-bpe, smollm, starcoder, refact, command-r, codeshell, granite-docling, qwen2, deepseek-r1-qwen, stablelm2, falcon, tekken";

/// How text is cut before merging.
struct Pre {
    cuts: &'static [&'static str],
    /// NFC first, as the model's own tokenizer does (llama.cpp leaves it out).
    nfc: bool,
    /// A piece that is a token as a whole is not built from merges.
    ignore_merges: bool,
    add_bos: bool,
}

fn pre_kind(name: &str) -> Result<Pre, TokenizerError> {
    let (cuts, nfc, ignore_merges, add_bos): (&'static [&'static str], bool, bool, bool) =
        match name {
            "gpt-2" | "phi-2" | "jais" | "granite-docling" => (&[GPT2], false, false, false),
            "mpt" | "olmo" | "gpt-neox" => (&[GPT2], true, false, false),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "lfm2" | "pixtral" => {
                (&[LLAMA3], false, true, true)
            }
            "dbrx" | "smaug-bpe" => (&[LLAMA3], false, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
                (&[r"\p{N}", GPT2], name == "command-r", false, false)
            }
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" => (&[QWEN2], true, false, false),
            "falcon" => (
                &[PUNCTUATION, GPT2, r"[0-9][0-9][0-9]"],
                false,
                false,
                false,
            ),
            "default" => (
                &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
                false,
                false,
                false,
            ),
            "tekken" => (&[TEKKEN], false, true, true),
            other => {
                return Err(TokenizerError::Unsupported {
                    found: format!("the pre-tokenizer '{other}'"),
                    supported: PRE_KINDS,
                });
            }
        };
    Ok(Pre {
        cuts,
        nfc,
        ignore_merges,
        add_bos,
    })
}

/// Writes a vocabulary as the bytes of a tokenizer.json.
///
/// # Errors
/// [`TokenizerError`] when the model or the cutting rule is not supported, or the lists do not fit
/// together.
pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Vec<u8>, TokenizerError> {
    let count = vocabulary.tokens.len();
    if count == 0 {
        return Err(TokenizerError::Invalid(
            "the vocabulary is empty".to_owned(),
        ));
    }
    if !vocabulary.kinds.is_empty() && vocabulary.kinds.len() != count {
        return Err(TokenizerError::Invalid(format!(
            "{count} tokens but {} kinds of tokens",
            vocabulary.kinds.len()
        )));
    }
    let json = match vocabulary.model.as_str() {
        "gpt2" => byte_level(vocabulary)?,
        "llama" => sentencepiece(vocabulary)?,
        other => {
            return Err(TokenizerError::Unsupported {
                found: format!("the tokenizer model '{other}'"),
                supported: "gpt2, llama",
            });
        }
    };
    Ok(json.to_string().into_bytes())
}

fn vocab_map(vocabulary: &Vocabulary) -> Map<String, Value> {
    let mut map = Map::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        // The first of two equal tokens is the one that encoding finds.
        map.entry(token.clone()).or_insert_with(|| id.into());
    }
    map
}

fn added_tokens(vocabulary: &Vocabulary) -> Vec<Value> {
    let kinds = vocabulary.tokens.iter().zip(&vocabulary.kinds).enumerate();
    let special = |kind: i64| kind == CONTROL || kind == UNKNOWN;
    kinds
        .filter(|(_, (token, kind))| {
            !token.is_empty() && (special(**kind) || **kind == USER_DEFINED)
        })
        .map(|(id, (token, kind))| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special(*kind),
            })
        })
        .collect()
}

/// Puts the begin and end tokens around a text.
fn template(vocabulary: &Vocabulary, add_bos: bool) -> Result<Value, TokenizerError> {
    let mut parts = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut special = Map::new();
    let mut mark = |id: Option<u32>, what: &str| -> Result<Value, TokenizerError> {
        let token = id
            .and_then(|id| vocabulary.tokens.get(id as usize))
            .ok_or_else(|| {
                TokenizerError::Invalid(format!("the {what} token to add is not in the vocabulary"))
            })?;
        special.insert(
            token.clone(),
            json!({"id": token, "ids": [id], "tokens": [token]}),
        );
        Ok(json!({"SpecialToken": {"id": token, "type_id": 0}}))
    };
    if add_bos {
        parts.insert(0, mark(vocabulary.bos, "begin")?);
    }
    if vocabulary.add_eos {
        parts.push(mark(vocabulary.eos, "end")?);
    }
    if parts.len() == 1 {
        return Ok(Value::Null);
    }
    let mut pair = parts.clone();
    pair.push(json!({"Sequence": {"id": "B", "type_id": 1}}));
    Ok(json!({
        "type": "TemplateProcessing", "single": parts, "pair": pair, "special_tokens": special,
    }))
}

fn byte_level(vocabulary: &Vocabulary) -> Result<Value, TokenizerError> {
    let pre = pre_kind(vocabulary.pre.as_deref().unwrap_or("default"))?;
    let mut cuts: Vec<Value> = pre
        .cuts
        .iter()
        .map(|pattern| {
            json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                "invert": false,
            })
        })
        .collect();
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    cuts.push(bytes.clone());
    // A begin token that is wanted by habit but absent is no error; one that is asked for is.
    let by_habit = pre.add_bos && vocabulary.bos.is_some();
    let add_bos = vocabulary.add_bos.unwrap_or(by_habit);
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": if pre.nfc { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "post_processor": template(vocabulary, add_bos)?,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.ignore_merges, "vocab": vocab_map(vocabulary),
            "merges": known_merges(vocabulary),
        },
    }))
}

/// Merges whose parts and result are tokens; `tokenizers` refuses others, and llama.cpp's rule for
/// them (never apply) is the same as leaving them out.
fn known_merges(vocabulary: &Vocabulary) -> Vec<&str> {
    let known: std::collections::HashSet<&str> =
        vocabulary.tokens.iter().map(String::as_str).collect();
    let fits = |merge: &&str| {
        merge.split_once(' ').is_some_and(|(left, right)| {
            known.contains(left)
                && known.contains(right)
                && known.contains(format!("{left}{right}").as_str())
        })
    };
    vocabulary
        .merges
        .iter()
        .map(String::as_str)
        .filter(fits)
        .collect()
}

fn sentencepiece(vocabulary: &Vocabulary) -> Result<Value, TokenizerError> {
    if vocabulary.scores.len() != vocabulary.tokens.len() {
        return Err(TokenizerError::Invalid(format!(
            "{} tokens but {} scores",
            vocabulary.tokens.len(),
            vocabulary.scores.len()
        )));
    }
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = match prefix {
        true => json!({
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, space],
        }),
        false => space,
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = vocabulary.kinds.iter().position(|k| *k == UNKNOWN);
    let unknown = unknown.and_then(|id| vocabulary.tokens.get(id));
    let add_bos = vocabulary.add_bos.unwrap_or(vocabulary.bos.is_some());
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(vocabulary),
        "normalizer": normalizer, "pre_tokenizer": null,
        "post_processor": template(vocabulary, add_bos)?,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": vocab_map(vocabulary),
            "merges": merges_from_scores(vocabulary),
        },
    }))
}

/// SentencePiece joins the neighbours whose joint token has the best score. As merges: every way
/// to cut a token into two tokens, best score first.
///
/// Some converters write one score for all tokens. Then the lower id goes first, as
/// SentencePiece's training numbers them, but runs of spaces go last: Llama's vocabulary has them
/// at the front by id and at the end by score.
fn merges_from_scores(vocabulary: &Vocabulary) -> Vec<Value> {
    let ids: HashMap<&str, usize> = vocabulary
        .tokens
        .iter()
        .enumerate()
        .rev()
        .map(|(id, t)| (t.as_str(), id))
        .collect();
    let mut merges: Vec<(f32, usize, usize, usize)> = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        // Normal and user-defined tokens only: marks and bytes are never built by merging.
        if !matches!(vocabulary.kinds.get(id), None | Some(1 | &USER_DEFINED)) {
            continue;
        }
        // A longer token than any published one has would cost quadratic time here.
        if token.len() > 512 {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                merges.push((vocabulary.scores[id], id, left, right));
            }
        }
    }
    let token = |id: usize| vocabulary.tokens[id].as_str();
    let blank = |id: usize| token(id).chars().all(|c| c == '▁');
    merges.sort_by(|a, b| {
        let order = |m: &(f32, usize, usize, usize)| (blank(m.1), m.1, m.2, m.3);
        b.0.total_cmp(&a.0).then_with(|| order(a).cmp(&order(b)))
    });
    merges
        .iter()
        .map(|&(_, _, left, right)| json!([token(left), token(right)]))
        .collect()
}
