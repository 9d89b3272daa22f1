use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::io::Write;

fn machine(id: &str) -> Machine {
    Machine {
        id: id.into(),
        cpu: "a CPU".into(),
        cores: 2,
        memory: 1 << 34,
        isa: "avx2".into(),
        system: "linux 6".into(),
        sillage: "0.1.0".into(),
    }
}

fn file(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect()
}

fn read(text: &str) -> Result<Run, LabError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    std::fs::write(&path, text).unwrap();
    Run::read(path)
}

fn point(job: &str, sample: f64) -> Point {
    let mut point = Point::new("scaling", "decode rate", "a", "tokens/s", Better::Higher)
        .at("length", 4096)
        .config(json!({"seed": 1}))
        .samples(vec![sample]);
    point.job = job.into();
    point.machine = "m".into();
    point
}

fn opening() -> Vec<Line> {
    vec![
        Line::Machine {
            version: VERSION,
            machine: machine("m"),
        },
        Line::Start(Start {
            seed: 0,
            threads: 2,
            scale: "quick".into(),
            measures: vec!["scaling".into()],
            time: String::new(),
            load: None,
        }),
    ]
}

fn begin(job: &str) -> Line {
    Line::Begin {
        measure: "scaling".into(),
        job: job.into(),
    }
}

fn done(job: &str) -> Line {
    Line::Done {
        measure: "scaling".into(),
        job: job.into(),
        points: 1,
    }
}

fn as_line(point: Point) -> Line {
    Line::Point(Box::new(point))
}

#[test]
fn a_run_is_what_its_finished_jobs_gave() {
    let mut lines = opening();
    lines.extend([begin("one"), as_line(point("one", 1.0)), done("one")]);
    // Killed while writing job two, then gone on.
    lines.extend([begin("two"), as_line(point("two", 2.0))]);
    lines.extend(opening());
    lines.extend([begin("two"), as_line(point("two", 3.0)), done("two")]);
    lines.extend([begin("three"), as_line(point("three", 4.0))]);
    let run = read(&(file(&lines) + "{\"kind\":\"poi")).unwrap();
    let samples: Vec<f64> = run
        .points
        .iter()
        .map(|p| p.measured().unwrap()[0])
        .collect();
    assert_eq!(samples, [1.0, 3.0]);
    assert_eq!(run.machines, [machine("m")]);
    assert_eq!(run.points[0].number("length"), Some(4096.0));
}

#[test]
fn a_packed_run_is_the_same_run() {
    let lines = [opening().remove(0), as_line(point("", 1.0))];
    let text = file(&lines);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    let bytes = packed.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        Run::read(&path).unwrap().points,
        read(&text).unwrap().points
    );
    // Nobody goes on in it.
    assert_eq!(read_lines(&path).unwrap().1, None);
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(Run::read(&path), Err(LabError::Io { .. })));
}

#[test]
fn numbers_come_back_to_the_last_bit() {
    // Digits over a power of ten, as is quickest to read, give the neighbours of these.
    for sample in [
        1.963_226_917_847_194_2,
        1.868_193_319_432_357_4,
        1.808_868_989_611_775_8,
    ] {
        let text = file(&[opening().remove(0), as_line(point("", sample))]);
        let read = read(&text).unwrap();
        assert_eq!(read.points[0].measured().unwrap(), [sample]);
    }
}

#[test]
fn points_that_no_runner_wrote_are_taken_as_they_are() {
    let lines = [opening().remove(0), as_line(point("", 1.0))];
    assert_eq!(read(&file(&lines)).unwrap().points.len(), 1);
}

#[test]
fn a_failure_counts_until_its_job_is_done_again() {
    let mut failure = Point::new("scaling", FAILED, "one", "", Better::Higher).missing("no");
    (failure.job, failure.machine) = ("one".into(), "m".into());
    let mut unplanned = failure.clone();
    unplanned.job = PLAN.into();
    let mut lines = opening();
    lines.extend([as_line(unplanned.clone()), done(PLAN)]);
    lines.extend([as_line(failure.clone()), done("one")]);
    let run = read(&file(&lines)).unwrap();
    assert_eq!(run.points, [failure.clone()]);
    lines.extend([as_line(point("one", 1.0)), done("one")]);
    assert_eq!(read(&file(&lines)).unwrap().points, [point("one", 1.0)]);
    assert!(failure.is_failure() && !point("one", 1.0).is_failure());
}

#[test]
fn other_versions_and_damage_are_named() {
    let text = file(&opening()).replace("\"version\":1", "\"version\":2");
    let error = read(&text).unwrap_err();
    assert!(matches!(error, LabError::Version { .. }));
    assert!(error.to_string().contains("version 2"), "{error}");
    let text = file(&opening()) + "not JSON\n" + &file(&[done("one")]);
    let error = read(&text).unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
    let error = read(&file(&[done("one")])).unwrap_err().to_string();
    assert!(error.contains("names no machine"), "{error}");
    assert!(matches!(
        Run::read("/none/at/all.jsonl"),
        Err(LabError::Io { .. })
    ));
    assert_eq!(read("").unwrap(), Run::default());
}

#[test]
fn runs_add_up() {
    let mut run = read(&file(&[opening().remove(0), as_line(point("", 1.0))])).unwrap();
    run.add(run.clone());
    assert_eq!((run.machines.len(), run.points.len()), (1, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever a file is cut off, reading it gives the points of whole jobs.
    #[test]
    fn any_beginning_of_a_file_is_read(cut in 0.0_f64..1.0) {
        let mut lines = opening();
        for job in ["one", "two", "three"] {
            lines.extend([begin(job), as_line(point(job, 1.0)), as_line(point(job, 2.0)), done(job)]);
        }
        let text = file(&lines);
        let text = &text[..(cut * text.len() as f64) as usize];
        let run = read(text).unwrap();
        // Before the line of the start nothing is known, after it all is.
        prop_assert_eq!(run.points.len(), 2 * text.matches("\"kind\":\"done\"").count().min(run.points.len() / 2));
        prop_assert!(run.points.len().is_multiple_of(2));
    }

    #[test]
    fn points_come_back_as_they_were(samples in prop::collection::vec(-1e12_f64..1e12, 1..9), text in ".*") {
        let mut there = point("one", 0.0).samples(samples.clone()).at("text", text);
        there.busy = Some(0.5);
        let line: Line = serde_json::from_str(&serde_json::to_string(&as_line(there.clone())).unwrap()).unwrap();
        let Line::Point(back) = line else { panic!("a point") };
        for (a, b) in back.measured().unwrap().iter().zip(&samples) {
            prop_assert!((a - b).abs() <= b.abs() * 1e-15);
        }
        prop_assert_eq!(back.at, there.at);
        prop_assert_eq!(back.busy, there.busy);
    }

    #[test]
    fn bytes_of_any_kind_are_no_crash(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let _ = Run::read(path);
    }
}

#[test]
fn configurations_name_files_and_not_where_they_lie() {
    let point = Point::new("copy", "accuracy", "a", "", Better::Higher).config(serde_json::json!({
        "text": ["/home/me/books/a.jsonl.zst", "b.txt"], "of": { "model": "/m/voice.safetensors" },
        "ratio": "a/b", "seed": 1,
    }));
    let expected = serde_json::json!({
        "text": ["a.jsonl.zst", "b.txt"], "of": { "model": "voice.safetensors" },
        "ratio": "a/b", "seed": 1,
    });
    assert_eq!(point.config, expected);
}
