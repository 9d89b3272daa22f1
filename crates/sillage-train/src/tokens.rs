//! Vocabularies of texts: bytes, a byte-level BPE trained on them, or one from a file.

use crate::error::TrainError;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerBuilder,
};

/// The token after each document.
const END: &str = "<|endoftext|>";
/// Names of that token in vocabularies from elsewhere.
const ENDS: [&str; 4] = [END, "</s>", "<|im_end|>", "<eos>"];
/// Bytes of text that a tokenizer is trained on; more change it little.
const TRAINED_ON: usize = 64 << 20;

/// A vocabulary.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// Token ids are byte values, so encoding is copying.
    bytes: bool,
    end: Option<u32>,
    size: usize,
}

impl Vocabulary {
    /// `how` is `bytes`, `bpe:N` or the path of a `tokenizer.json`. If `saved` is the path of a
    /// tokenizer that an earlier part of the run made, that is taken instead of training one.
    ///
    /// # Errors
    /// Words that are none of these, files that cannot be read, and too little text.
    pub fn new(how: &str, saved: Option<&Path>, texts: &[String]) -> Result<Self, TrainError> {
        let bad = |message: String| TrainError::value("data.tokenizer", message);
        let saved = saved.filter(|path| path.exists());
        let (tokenizer, bytes) = if how == "bytes" {
            (of_bytes().map_err(|e| bad(e.to_string()))?, true)
        } else if let Some(path) = saved {
            (load(path)?, false)
        } else if let Some(size) = how.strip_prefix("bpe:") {
            let size: usize = size.parse().unwrap_or(0);
            if !(257..=1 << 20).contains(&size) {
                return Err(bad(format!(
                    "'{how}': give bpe:N with N from 257 to 1,048,576"
                )));
            }
            (train(size, texts).map_err(|e| bad(e.to_string()))?, false)
        } else if how.ends_with(".json") {
            (load(Path::new(how))?, false)
        } else {
            return Err(bad(format!(
                "'{how}': give bytes, bpe:N, or the path of a tokenizer.json"
            )));
        };
        let end = ENDS.iter().find_map(|name| tokenizer.token_to_id(name));
        // Ids may have gaps; the model needs a row up to the last.
        let vocab = tokenizer.get_vocab(true);
        let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        Ok(Vocabulary {
            tokenizer,
            bytes,
            end,
            size,
        })
    }

    /// Number of tokens.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The token after each document, if there is one.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// Appends the tokens of a text.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), TrainError> {
        if self.bytes {
            tokens.extend(text.bytes().map(u32::from));
            return Ok(());
        }
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|e| TrainError::value("data.tokenizer", e.to_string()))?;
        tokens.extend(encoding.get_ids());
        Ok(())
    }

    /// Bytes of text that each token stands for; 0 for special tokens. Of byte-level vocabularies; of
    /// others an estimate by the decoded token.
    #[must_use]
    pub fn byte_lengths(&self) -> Vec<u32> {
        let length = |id: u32| match self.tokenizer.id_to_token(id) {
            Some(token) if ENDS.contains(&token.as_str()) => 0,
            // Each character of a byte-level token stands for one byte.
            Some(token) => token.chars().count() as u32,
            None => 0,
        };
        (0..self.size as u32).map(length).collect()
    }

    /// As a `tokenizer.json`.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn to_json(&self) -> Result<String, TrainError> {
        let json = self.tokenizer.to_string(true);
        json.map_err(|e| TrainError::value("data.tokenizer", e.to_string()))
    }
}

fn load(path: &Path) -> Result<Tokenizer, TrainError> {
    Tokenizer::from_file(path).map_err(|error| TrainError::Data {
        path: path.to_owned(),
        message: format!("no tokenizer: {error}"),
    })
}

/// The character that stands for each byte in byte-level vocabularies (as GPT-2 chose them).
fn byte_characters() -> [char; 256] {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256u32;
    std::array::from_fn(|byte| {
        if printable(byte as u8) {
            char::from(byte as u8)
        } else {
            next += 1;
            char::from_u32(next - 1).unwrap_or('?')
        }
    })
}

fn of_bytes() -> tokenizers::Result<Tokenizer> {
    let characters = byte_characters();
    let vocab: [(String, u32); 256] =
        std::array::from_fn(|byte| (characters[byte].to_string(), byte as u32));
    let bpe = BPE::builder().vocab_and_merges(vocab, vec![]).build()?;
    assemble(bpe)
}

fn assemble(bpe: BPE) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens(vec![AddedToken::from(END, true)])?;
    Ok(tokenizer)
}

type Plain = tokenizers::TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

fn train(size: usize, texts: &[String]) -> tokenizers::Result<Tokenizer> {
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        // One more is the end-of-text token.
        .vocab_size(size - 1)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut plain: Plain = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true).into()))
        .build()?;
    let mut left = TRAINED_ON;
    let pieces = texts.iter().map_while(|text| {
        let mut end = text.len().min(left);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        left -= end;
        (end > 0).then(|| &text[..end])
    });
    plain.train(&mut trainer, pieces)?;
    assemble(plain.get_model().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bytes_for_any_reader() {
        let bytes = Vocabulary::new("bytes", None, &[]).unwrap();
        assert_eq!((bytes.size(), bytes.end()), (257, Some(256)));
        let text = "A wake.\n\u{e9}\u{4e16}";
        let mut tokens = Vec::new();
        bytes.encode(text, &mut tokens).unwrap();
        assert_eq!(tokens.len(), text.len());
        // The tokenizer that is saved says the same.
        let saved: Tokenizer = bytes.to_json().unwrap().parse().unwrap();
        assert_eq!(saved.encode(text, false).unwrap().get_ids(), tokens);
        assert_eq!(saved.decode(&tokens, true).unwrap(), text);
        assert_eq!(bytes.byte_lengths()[65..=65], [1]);
        assert_eq!(bytes.byte_lengths()[256], 0);
    }

    #[test]
    fn pairs_are_learnt_and_lengths_add_up() {
        let texts = ["the theme of the theatre, the thesis".repeat(20)];
        let bpe = Vocabulary::new("bpe:264", None, &texts).unwrap();
        assert_eq!(bpe.size(), 264);
        let mut tokens = Vec::new();
        bpe.encode(&texts[0], &mut tokens).unwrap();
        assert!(tokens.len() < texts[0].len());
        let lengths = bpe.byte_lengths();
        let bytes: u32 = tokens.iter().map(|&t| lengths[t as usize]).sum();
        assert_eq!(bytes as usize, texts[0].len());
        for how in ["bpe:12", "bpe:x", "words", "/nowhere/tokenizer.json"] {
            assert!(Vocabulary::new(how, None, &texts).is_err(), "{how}");
        }
    }
}
