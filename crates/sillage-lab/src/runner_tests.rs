use super::*;
use crate::record::{Line, Run, read_lines};
use serde_json::json;
use std::fs;
use std::sync::Mutex;

/// What a job of the fake measure does.
#[derive(Clone, Copy)]
enum Does {
    Well,
    Fails,
    Panics,
    NoFigure,
    NoPoints,
    /// Meets a full disk in its own folder.
    DiskFull,
    /// Presses Ctrl-C.
    Stops,
}

type Log = Arc<Mutex<Vec<String>>>;

struct Fake {
    jobs: Vec<(&'static str, Does)>,
    log: Log,
    stop: Arc<AtomicBool>,
}

impl Measure for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn question(&self) -> &'static str {
        "Does the runner run?"
    }

    fn jobs(&self, _: Scale) -> Result<Vec<Job>, LabError> {
        if self.jobs.is_empty() {
            return Err(LabError::Mismatch {
                left: "a".into(),
                right: "b".into(),
                what: "11 parameters against 12".into(),
            });
        }
        let job = |&(id, does): &(&'static str, Does)| {
            let (log, stop) = (Arc::clone(&self.log), Arc::clone(&self.stop));
            Job {
                id: id.into(),
                estimate: 0.5,
                run: Box::new(move |context| {
                    log.lock().unwrap().push(id.into());
                    (context.progress)(0.5, "half");
                    let point = Point::new("?", "speed", id, "m/s", Better::Higher)
                        .at("length", 7)
                        .config(json!({ "seed": context.seed_for(id) }));
                    match does {
                        Does::Well => {}
                        Does::Fails => return Err(LabError::Failed("it broke".into())),
                        Does::Panics => panic!("at the {id}"),
                        Does::NoFigure => return Ok(vec![point.samples(vec![f64::NAN])]),
                        Does::NoPoints => return Ok(Vec::new()),
                        Does::DiskFull => {
                            return Err(LabError::io("/model", ErrorKind::StorageFull.into()));
                        }
                        Does::Stops => stop.store(true, Ordering::SeqCst),
                    }
                    let second = point.clone().at("length", 8).missing("too long");
                    Ok(vec![point.samples(vec![1.0, 2.0]), second])
                }),
            }
        };
        Ok(self.jobs.iter().map(job).collect())
    }
}

/// A folder, options and a log of the jobs that ran.
struct Bench {
    folder: tempfile::TempDir,
    options: Options,
    log: Log,
    stop: Arc<AtomicBool>,
    events: Log,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            scale: Scale::Quick,
            seed: 3,
            threads: 1,
            work: folder.path().join("work"),
            out: folder.path().join("out"),
            name: Some("fake".into()),
            measures: vec!["fake".into()],
            fresh: false,
            retry: false,
            program: None,
        };
        Self {
            folder,
            options,
            log: Log::default(),
            stop: Arc::default(),
            events: Log::default(),
        }
    }

    fn run(&self, jobs: &[(&'static str, Does)]) -> Result<Summary, LabError> {
        self.run_in(None, jobs)
    }

    fn run_in(
        &self,
        file: Option<&Path>,
        jobs: &[(&'static str, Does)],
    ) -> Result<Summary, LabError> {
        self.log.lock().unwrap().clear();
        self.stop.store(false, Ordering::SeqCst);
        let measures: Vec<Box<dyn Measure>> = vec![Box::new(Fake {
            jobs: jobs.to_vec(),
            log: Arc::clone(&self.log),
            stop: Arc::clone(&self.stop),
        })];
        let events = Arc::clone(&self.events);
        let watch: Watch = Arc::new(move |event| events.lock().unwrap().push(format!("{event:?}")));
        run(&self.options, file, &measures, &self.stop, watch)
    }

    fn ran(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

const WELL: [(&str, Does); 3] = [
    ("one", Does::Well),
    ("two", Does::Well),
    ("three", Does::Well),
];

fn reasons(run: &Run) -> Vec<(String, String)> {
    let missing = |p: &Point| match &p.outcome {
        Outcome::Missing { reason } => Some((p.job.clone(), reason.clone())),
        Outcome::Measured { .. } => None,
    };
    run.points.iter().filter_map(missing).collect()
}

#[test]
fn points_are_kept_with_where_they_came_from() {
    let bench = Bench::new();
    let summary = bench.run(&WELL).unwrap();
    assert_eq!(
        (summary.done, summary.skipped, summary.stopped),
        (3, 0, false)
    );
    let run = Run::read(&summary.file).unwrap();
    assert_eq!(run.points.len(), 6);
    let point = &run.points[2];
    assert_eq!(
        (point.measure.as_str(), point.job.as_str()),
        ("fake", "two")
    );
    assert_eq!(point.machine, run.machines[0].id);
    assert!(point.time.ends_with('Z') && point.seconds >= 0.0);
    let name = summary.file.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("20") && name.ends_with("-fake.jsonl"),
        "{name}"
    );
    let events = bench.events.lock().unwrap().join("\n");
    assert!(
        events.contains("Planned") && events.contains("left: "),
        "{events}"
    );
    assert!(events.contains("Progress { fraction: 0.5, words: \"half\" }"));
    // A finished run is not gone on with; the next has a file of its own.
    let again = bench.run(&WELL).unwrap();
    assert_ne!(again.file, summary.file);
    assert_eq!(bench.ran().len(), 3);
}

#[test]
fn a_job_that_fails_or_panics_is_a_gap_and_the_run_goes_on() {
    let bench = Bench::new();
    let jobs = [
        ("breaks", Does::Fails),
        ("panics", Does::Panics),
        ("nan", Does::NoFigure),
        ("empty", Does::NoPoints),
        ("well", Does::Well),
    ];
    let summary = bench.run(&jobs).unwrap();
    assert_eq!((summary.done, summary.failed.len()), (2, 3));
    let run = Run::read(&summary.file).unwrap();
    let reasons = reasons(&run);
    let reason = |job: &str| &reasons.iter().find(|(j, _)| j == job).unwrap().1;
    assert_eq!(reason("breaks"), "it broke");
    assert_eq!(reason("panics"), "it panicked: at the panics");
    assert_eq!(reason("nan"), "a sample is NaN, which is no figure");
    assert_eq!(reason("empty"), "it gave no points");
    assert_eq!(reason("well"), "too long");
}

#[test]
fn what_failed_is_done_again_when_asked() {
    let mut bench = Bench::new();
    let first = bench
        .run(&[("one", Does::Well), ("two", Does::Fails)])
        .unwrap();
    bench.options.retry = true;
    let second = bench.run(&WELL[..2]).unwrap();
    assert_eq!(second.file, first.file);
    assert_eq!(bench.ran(), ["two"]);
    let run = Run::read(&second.file).unwrap();
    assert!(run.points.iter().all(|point| !point.is_failure()));
    assert_eq!(run.points.len(), 4);
}

/// A file as a kill leaves it, at any byte: the run goes on with what is
/// missing, and nothing that was finished is lost.
#[test]
fn a_killed_run_goes_on_where_it_stopped() {
    let whole = Bench::new();
    let text = fs::read(whole.run(&WELL).unwrap().file).unwrap();
    let starts: Vec<usize> = (0..text.len())
        .filter(|&i| i > 0 && text[i - 1] == b'\n')
        .collect();
    let cuts = starts
        .iter()
        .flat_map(|&at| [at, at + 17])
        .filter(|&at| at < text.len());
    for cut in cuts.skip_while(|&at| at < starts[1]) {
        let bench = Bench::new();
        let file = bench.options.out.join("2020-01-01-fake.jsonl");
        fs::create_dir_all(&bench.options.out).unwrap();
        fs::write(&file, &text[..cut]).unwrap();
        let safe = String::from_utf8_lossy(&text[..cut])
            .lines()
            .filter(|line| line.contains("\"done\"") && line.ends_with('}'))
            .count();
        let summary = bench.run(&WELL).unwrap();
        assert_eq!(summary.file, file, "cut at {cut}");
        assert_eq!(bench.ran(), ["one", "two", "three"][safe..], "cut at {cut}");
        assert_eq!((summary.skipped, summary.done), (safe, 3 - safe));
        let run = Run::read(&file).unwrap();
        assert_eq!(run.points.len(), 6, "cut at {cut}");
    }
}

#[test]
fn a_stop_ends_after_the_job_and_the_next_run_does_the_rest() {
    let bench = Bench::new();
    let first = bench
        .run(&[
            ("one", Does::Stops),
            ("two", Does::Well),
            ("three", Does::Well),
        ])
        .unwrap();
    assert!(first.stopped && first.done == 1);
    let second = bench.run(&WELL).unwrap();
    assert_eq!((&second.file, second.skipped), (&first.file, 1));
    assert_eq!(bench.ran(), ["two", "three"]);
    assert!(!second.stopped);
}

#[test]
fn a_run_stays_as_it_was_begun() {
    let mut bench = Bench::new();
    let stops = [("one", Does::Stops), ("two", Does::Well)];
    let file = bench.run(&stops).unwrap().file;
    let refused = |bench: &Bench, what: &str| {
        let error = bench.run_in(Some(&file), &WELL).unwrap_err();
        assert!(matches!(error, LabError::Another { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(bench.ran().is_empty());
    };
    bench.options.seed = 4;
    refused(&bench, "seed 3, not 4");
    // Where no file is named, another is begun.
    assert_ne!(bench.run(&WELL).unwrap().file, file);
    bench.options.seed = 3;
    bench.options.scale = Scale::Full;
    refused(&bench, "scale quick, not full");
    bench.options.scale = Scale::Quick;
    let text = fs::read_to_string(&file).unwrap();
    let id = Run::read(&file).unwrap().machines[0].id.clone();
    fs::write(&file, text.replace(&id, "0123456789ab")).unwrap();
    refused(&bench, "on another machine");
    fs::write(&file, text.replace("\"version\":1", "\"version\":9")).unwrap();
    let error = bench.run_in(Some(&file), &WELL).unwrap_err();
    assert!(matches!(error, LabError::Version { .. }), "{error}");
    fs::write(&file, &text).unwrap();
    assert_eq!(bench.run_in(Some(&file), &WELL).unwrap().skipped, 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let mut bench = Bench::new();
    let blocked = bench.folder.path().join("file");
    fs::write(&blocked, "not a folder").unwrap();
    bench.options.out = blocked.join("out");
    let error = bench.run(&WELL).unwrap_err().to_string();
    assert!(error.contains("file/out"), "{error}");
    assert!(bench.ran().is_empty());
    bench.options.out = bench.folder.path().join("out");
    bench.options.work = blocked.join("work");
    assert!(bench.run(&WELL).is_err());
    bench.options.threads = 0;
    assert!(
        bench
            .run(&WELL)
            .unwrap_err()
            .to_string()
            .contains("0 threads")
    );
}

#[test]
fn a_full_disk_stops_the_run_and_loses_no_finished_point() {
    let bench = Bench::new();
    let jobs = [
        ("one", Does::Well),
        ("two", Does::DiskFull),
        ("three", Does::Well),
    ];
    let error = bench.run(&jobs).unwrap_err();
    assert!(matches!(error, LabError::Io { .. }), "{error}");
    assert_eq!(bench.ran(), ["one", "two"]);
    // With room again, it goes on with the job that met the full disk.
    let summary = bench.run(&WELL).unwrap();
    assert_eq!(
        (summary.skipped, bench.ran()),
        (1, vec!["two".into(), "three".into()])
    );
}

#[test]
fn a_job_that_kills_the_program_again_and_again_is_marked() {
    let bench = Bench::new();
    let file = bench
        .run(&[
            ("one", Does::Stops),
            ("two", Does::Well),
            ("three", Does::Well),
        ])
        .unwrap()
        .file;
    let killed = serde_json::to_string(&Line::Begin {
        measure: "fake".into(),
        job: "two".into(),
    })
    .unwrap();
    let mut text = fs::read_to_string(&file).unwrap();
    for _ in 0..BROKEN_OFF {
        text = text + &killed + "\n";
    }
    fs::write(&file, text).unwrap();
    let summary = bench.run(&WELL).unwrap();
    assert_eq!(bench.ran(), ["three"]);
    assert!(
        summary.failed[0].2.contains("out of memory"),
        "{:?}",
        summary.failed
    );
}

#[test]
fn two_runs_do_not_share_a_file() {
    let bench = Bench::new();
    let file = bench
        .run(&[("one", Does::Stops), ("two", Does::Well)])
        .unwrap()
        .file;
    let machine = Run::read(&file).unwrap().machines.remove(0);
    let start = bench.options.start();
    let held = RunFile::resume(&file, &machine, &start).unwrap();
    let error = bench.run_in(Some(&file), &WELL).unwrap_err().to_string();
    assert!(error.contains("another run"), "{error}");
    drop(held);
    assert!(bench.run_in(Some(&file), &WELL).is_ok());
}

#[test]
fn the_same_seed_gives_the_same_seeds_and_order() {
    let configs = |bench: &Bench| -> Vec<String> {
        let file = bench.run(&WELL).unwrap().file;
        let points = Run::read(file).unwrap().points;
        points.iter().map(|p| p.config.to_string()).collect()
    };
    let (one, two) = (Bench::new(), Bench::new());
    assert_eq!(configs(&one), configs(&two));
    assert_eq!(one.ran(), two.ran());
    let mut other = Bench::new();
    other.options.seed = 4;
    assert_ne!(configs(&one), configs(&other));
}

#[test]
fn sides_that_do_not_match_refuse_to_run() {
    let bench = Bench::new();
    let error = bench.run(&[]).unwrap_err();
    assert!(matches!(error, LabError::Mismatch { .. }), "{error}");
    assert!(!bench.options.out.exists());
    let twice = [("one", Does::Well), ("one", Does::Well)];
    assert!(bench.run(&twice).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_measure_that_refuses_beside_others_is_a_gap() {
    let bench = Bench::new();
    let fake = |jobs: &[(&'static str, Does)]| -> Box<dyn Measure> {
        Box::new(Fake {
            jobs: jobs.to_vec(),
            log: Arc::clone(&bench.log),
            stop: Arc::clone(&bench.stop),
        })
    };
    let measures = [fake(&[]), fake(&WELL)];
    let summary = run(
        &bench.options,
        None,
        &measures,
        &bench.stop,
        Arc::new(|_| {}),
    )
    .unwrap();
    assert_eq!((summary.done, summary.failed.len()), (3, 1));
    let (lines, _) = read_lines(&summary.file).unwrap();
    assert!(matches!(lines.last(), Some(Line::End)));
    let refused = |line: &Line| matches!(line, Line::Point(p) if p.job == PLAN);
    assert!(lines.iter().any(refused));
}

#[test]
fn the_clock_learns_from_what_jobs_take() {
    let mut clock = Clock {
        left: 100.0,
        first_guess: 1.0,
        estimated: 0.0,
        taken: 0.0,
    };
    assert_eq!(clock.left(), 100.0);
    // Jobs take three times what was estimated.
    clock.took(30.0, 90.0);
    assert_eq!(clock.left(), 70.0 * 2.0);
}
