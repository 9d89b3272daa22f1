//! Texts as tokens: reading, tokenising, packing into sequences.

use crate::error::TrainError;
use crate::net::Batch;
use crate::recipe::DataRecipe;
use crate::tasks::UNSCORED;
use crate::tokens::Vocabulary;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest text that is read, so that a hostile archive cannot fill the memory.
const LIMIT: u64 = 8 << 30;

/// Documents one behind the other, an end-of-text token after each where the vocabulary has one.
#[derive(Debug, Default)]
pub struct Corpus {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Where documents begin.
    pub starts: Vec<usize>,
    /// Bytes of text in them.
    pub bytes: u64,
}

/// The documents of one file.
///
/// # Errors
/// If it cannot be read, is no UTF-8, or a line of `.jsonl` is no object with a `text`.
pub fn documents(path: &Path) -> Result<Vec<String>, TrainError> {
    let bad = |message: String| TrainError::Data {
        path: path.to_owned(),
        message,
    };
    let file = BufReader::new(File::open(path).map_err(TrainError::io(path))?);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let (name, reader): (_, Box<dyn Read>) = match name.strip_suffix(".zst") {
        Some(name) => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(file)
                .map_err(|error| bad(format!("no whole zstd archive: {error}")))?;
            (name.to_owned(), Box::new(decoder))
        }
        None => (name, Box::new(file)),
    };
    let mut text = String::new();
    let mut limited = reader.take(LIMIT);
    limited
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => bad("this is no UTF-8 text".to_owned()),
            _ => bad(format!("cannot be read to its end: {error}")),
        })?;
    if limited.limit() == 0 {
        return Err(bad(
            "more than 8 GiB of text: give it in several files".to_owned()
        ));
    }
    if name.ends_with(".jsonl") {
        #[derive(serde::Deserialize)]
        struct Line {
            text: String,
        }
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty());
        return lines
            .map(|(i, line)| match serde_json::from_str::<Line>(line) {
                Ok(line) => Ok(line.text),
                Err(error) => Err(bad(format!(
                    "line {}: {error}; each line is {{\"text\": ...}}",
                    i + 1
                ))),
            })
            .collect();
    }
    Ok(vec![text])
}

impl Corpus {
    /// Of documents.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn of(documents: &[String], vocabulary: &Vocabulary) -> Result<Self, TrainError> {
        let mut corpus = Corpus::default();
        for document in documents {
            corpus.starts.push(corpus.tokens.len());
            corpus.bytes += document.len() as u64;
            vocabulary.encode(document, &mut corpus.tokens)?;
            corpus.tokens.extend(vocabulary.end());
        }
        Ok(corpus)
    }

    /// Whole sequences of `length` tokens with what follows each.
    #[must_use]
    pub fn sequences(&self, length: usize) -> u64 {
        (self.tokens.len().saturating_sub(1) / length) as u64
    }

    /// Adds sequence `index` to a batch; with `reset`, each document in it as a sequence of its own.
    pub fn push(&self, index: u64, length: usize, reset: bool, batch: &mut Batch) {
        let start = index as usize * length;
        let end = (start + length).min(self.tokens.len().saturating_sub(1));
        if start >= end {
            return;
        }
        let mut at = start;
        while at < end {
            let next = match self.starts.partition_point(|&s| s <= at) {
                i if reset && i < self.starts.len() => self.starts[i].min(end),
                _ => end,
            };
            let tokens = &self.tokens[at..next];
            let mut targets = self.tokens[at + 1..next + 1].to_vec();
            if reset && self.starts.binary_search(&next).is_ok() {
                // What begins the next document does not follow from this one.
                if let Some(last) = targets.last_mut() {
                    *last = UNSCORED;
                }
            }
            batch.push(tokens, &targets);
            at = next;
        }
    }
}

/// Documents of files, in order, up to so many megabytes (0: all).
fn limited(paths: &[PathBuf], megabytes: u64) -> Result<Vec<String>, TrainError> {
    let mut left = match megabytes {
        0 => u64::MAX,
        megabytes => megabytes.saturating_mul(1_000_000),
    };
    let mut texts = Vec::new();
    for path in paths {
        for text in documents(path)? {
            if left == 0 {
                return Ok(texts);
            }
            left = left.saturating_sub(text.len() as u64);
            texts.push(text);
        }
    }
    Ok(texts)
}

/// Reads the training and validation texts and makes their vocabulary.
///
/// # Errors
/// As [`documents`]; too little text for one sequence.
pub(crate) fn read(
    recipe: &DataRecipe,
    saved: Option<&Path>,
) -> Result<(Vocabulary, Corpus, Option<Corpus>), TrainError> {
    let train = limited(&recipe.text, recipe.megabytes)?;
    let valid = limited(&recipe.valid, recipe.megabytes)?;
    let vocabulary = Vocabulary::new(&recipe.tokenizer, saved, &train)?;
    let train = Corpus::of(&train, &vocabulary)?;
    let valid = match valid.is_empty() {
        true => None,
        false => Some(Corpus::of(&valid, &vocabulary)?),
    };
    for (corpus, key) in [(Some(&train), "data.text"), (valid.as_ref(), "data.valid")] {
        if let Some(corpus) = corpus
            && corpus.sequences(recipe.length) == 0
        {
            let message = format!(
                "{} tokens are no whole sequence of {}: give more text or a smaller data.length",
                corpus.tokens.len(),
                recipe.length
            );
            return Err(TrainError::value(key, message));
        }
    }
    Ok((vocabulary, train, valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> Corpus {
        let documents = ["abcd".to_owned(), "efg".to_owned(), "hijklmn".to_owned()];
        let vocabulary = Vocabulary::new("bytes", None, &[]).unwrap();
        Corpus::of(&documents, &vocabulary).unwrap()
    }

    #[test]
    fn sequences_cover_the_text_once() {
        let corpus = corpus();
        assert_eq!(corpus.tokens.len(), 17);
        assert_eq!(corpus.starts, [0, 5, 9]);
        let mut batch = Batch::default();
        for i in 0..corpus.sequences(4) {
            corpus.push(i, 4, false, &mut batch);
        }
        assert_eq!(batch.tokens, corpus.tokens[..16]);
        assert_eq!(batch.targets, corpus.tokens[1..17]);
        assert_eq!(batch.lens, [4; 4]);
    }

    #[test]
    fn documents_may_begin_afresh() {
        let corpus = corpus();
        let mut batch = Batch::default();
        corpus.push(0, 8, true, &mut batch);
        assert_eq!(batch.lens, [5, 3]);
        assert_eq!(batch.targets[4], UNSCORED);
        assert_eq!(batch.targets[5], u32::from(b'f'));
        assert_eq!(batch.scored(), 7);
    }

    #[test]
    fn what_is_no_text_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        for (name, bytes, word) in [
            ("a.txt", &[0xff, 0xfe][..], "UTF-8"),
            ("a.jsonl", b"{\"text\": \"x\"}\nno json\n", "line 2"),
            ("a.txt.zst", b"not an archive", "zstd"),
        ] {
            let error = documents(&write(name, bytes)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let good = write(
            "b.jsonl",
            b"{\"text\": \"x\"}\n\n{\"text\": \"y\", \"author\": 1}\n",
        );
        assert_eq!(documents(&good).unwrap(), ["x", "y"]);
        assert!(documents(Path::new("/nowhere.txt")).is_err());
    }
}
