//! The page: safe, the same every time, and sound for any run.

use super::chart::{Axis, Body, Chart, Dot, Line, Scale};
use super::markup::Markup;
use super::{html, pictures, svg};
use crate::claims::{Estimate, Evidence};
use crate::record::{Better, Run};
use crate::report::synthetic::{self, Made};

/// Every number in an attribute that draws is a number.
fn sound(page: &str) {
    for bad in ["NaN", "inf ", "\"inf", "undefined", "Infinity"] {
        assert!(!page.contains(bad), "{bad} in the page");
    }
    let opened = page.matches("<svg").count();
    assert_eq!(opened, page.matches("</svg>").count());
    for attribute in [
        " d=\"",
        " x=\"",
        " y=\"",
        " cx=\"",
        " points=\"",
        " width=\"",
        " height=\"",
    ] {
        for rest in page.split(attribute).skip(1) {
            let value = rest.split('"').next().unwrap();
            assert!(
                value
                    .chars()
                    .all(|c| c.is_ascii_digit() || " .,-MLVHAlhvaz".contains(c)),
                "{attribute}{value}"
            );
        }
    }
}

#[test]
fn a_full_run_is_sound_and_repeats() {
    let run = synthetic::run();
    let page = html(&run);
    if let Ok(path) = std::env::var("SILLAGE_LAB_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    sound(&page);
    assert_eq!(page, html(&run));
    assert!(page.contains("Time and memory by length"));
    assert!(page.contains("level at "));
    assert!(page.contains("trained to 50"));
    assert!(page.contains("missing, needs"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

#[test]
fn an_empty_run_says_so() {
    let page = html(&Run::default());
    sound(&page);
    assert!(page.contains("nothing was measured yet"));
    assert!(page.contains("0 hold, 0 fail, 0 are mixed"));
    if let Ok(path) = std::env::var("SILLAGE_LAB_EMPTY") {
        std::fs::write(path, page).unwrap();
    }
}

#[test]
fn text_of_a_file_never_becomes_markup() {
    let evil = "</title><script>alert(1)</script>\" onload='x' <img src=x>&{}\u{202e}\u{1b}[0m";
    let mut run = synthetic::run();
    run.machines[0].cpu = evil.into();
    for (number, point) in run.points.iter_mut().enumerate() {
        match number % 6 {
            0 => point.series = evil.into(),
            1 => point.unit = evil.into(),
            2 => point.metric = evil.into(),
            3 => point.measure = evil.into(),
            4 => point.at = [(evil.to_string(), evil.into())].into(),
            _ => {
                point.outcome = crate::Outcome::Missing {
                    reason: evil.into(),
                }
            }
        }
        point.config = serde_json::json!({ "seed": evil });
        point.time = evil.into();
    }
    let page = html(&run);
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("<img"));
    assert!(!page.contains("onload='"));
    assert!(!page.contains("\" onload"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
    assert_eq!(page, html(&run));
}

#[test]
fn a_run_of_gaps_shows_them_all() {
    let mut run = synthetic::run();
    for point in &mut run.points {
        point.outcome = crate::Outcome::Missing {
            reason: "no memory left".into(),
        };
    }
    let page = html(&run);
    sound(&page);
    assert!(page.contains("no memory left"));
    assert!(page.contains("0 hold, 0 fail, 0 are mixed"));
    assert!(!page.contains("class=\"line\" d=\"M5"), "no line is drawn");
}

#[test]
fn one_point_of_each_metric_is_drawn() {
    let run = synthetic::run();
    let mut seen = Vec::new();
    let mut few = Run {
        machines: run.machines.clone(),
        points: Vec::new(),
    };
    for point in &run.points {
        let key = (point.measure.clone(), point.metric.clone());
        if !seen.contains(&key) {
            seen.push(key);
            few.points.push(point.clone());
        }
    }
    sound(&html(&few));
}

#[test]
fn extreme_values_draw_numbers() {
    let mut run = synthetic::run();
    let extremes = [
        0.0,
        -1.0,
        1e300,
        1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
    ];
    for (number, point) in run.points.iter_mut().enumerate() {
        point.outcome = crate::Outcome::Measured {
            samples: vec![
                extremes[number % extremes.len()],
                extremes[number / 3 % extremes.len()],
            ],
        };
    }
    let page = html(&run);
    assert!(!page.contains("=\"NaN") && !page.contains("LNaN") && !page.contains("Minf"));
}

#[test]
fn unknown_measures_and_metrics_are_drawn_too() {
    let mut made = Made::new();
    for (length, value) in [(1, 2.0), (2, 4.0), (4, 8.0)] {
        made.add(
            "new",
            "speed of light",
            "ours",
            "m/s",
            Better::Higher,
            &[value, value * 1.1],
        )
        .at
        .insert("length".into(), length.into());
    }
    made.add("other", "taste", "ours", "points", Better::Higher, &[1.0]);
    let page = html(&made.run);
    sound(&page);
    assert!(page.contains("Speed of light") && page.contains("Taste"));
    assert!(page.contains("<path class=\"line\" d=\"M"));
}

fn line_chart(dots: Vec<Dot>) -> String {
    let axis = |scale| Axis {
        label: "tokens".into(),
        unit: "tokens".into(),
        scale,
        show: Vec::new(),
    };
    let chart = Chart {
        id: "p".into(),
        title: "Speed".into(),
        note: String::new(),
        y: axis(Scale::Log10),
        body: Body::Lines {
            x: axis(Scale::Log2),
            lines: vec![Line {
                name: "Mamba-2".into(),
                dots,
            }],
            rules: vec![(1024.0, "trained".into())],
        },
    };
    let mut page = Markup::new();
    page.add(&svg::svg(&chart, &[]));
    page.into_string()
}

fn dot(x: f64, y: Option<f64>) -> Dot {
    Dot {
        x,
        y: y.map(|value| Estimate {
            value,
            low: value * 0.9,
            high: value * 1.1,
            n: 5,
        })
        .ok_or_else(|| "too long".into()),
    }
}

#[test]
fn no_line_is_drawn_across_a_gap() {
    let picture = line_chart(vec![
        dot(256.0, Some(1.0)),
        dot(512.0, Some(2.0)),
        dot(1024.0, None),
        dot(2048.0, Some(4.0)),
        dot(4096.0, Some(8.0)),
    ]);
    sound(&picture);
    let line = picture.split("class=\"line\" d=\"").nth(1).unwrap();
    let line = line.split('"').next().unwrap();
    assert_eq!(
        (line.matches('M').count(), line.matches('L').count()),
        (2, 2)
    );
    assert!(picture.contains("1,024 tokens: missing, too long"));
    assert!(picture.contains("hollow"));
}

#[test]
fn a_picture_speaks() {
    let picture = line_chart(vec![dot(256.0, Some(1.0)), dot(512.0, Some(2.0))]);
    assert!(picture.starts_with(
        "<svg viewBox=\"0 0 420 290\" role=\"img\" aria-labelledby=\"p-t p-d\"><title id=\"p-t\">Speed</title><desc id=\"p-d\">Speed. Mamba-2: 1.00 tokens at 256 tokens, 2.00 tokens at 512 tokens.</desc>"
    ));
}

#[test]
fn lone_and_missing_series() {
    sound(&line_chart(vec![dot(256.0, Some(1.0))]));
    sound(&line_chart(vec![dot(256.0, None)]));
    sound(&line_chart(Vec::new()));
}

#[test]
fn every_identifier_is_used_once() {
    let page = html(&synthetic::run());
    let mut ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn the_setting_shown_is_fixed_beforehand() {
    let run = synthetic::run();
    let evidence = Evidence::new(&run);
    let cells: Vec<_> = evidence.of("scaling", "decode rate").collect();
    let spec = pictures::Spec {
        metric: "decode rate",
        ..pictures::BY_LENGTH
    };
    let charts = pictures::charts("scaling", &cells, &spec, &mut 1);
    assert_eq!(charts[0].note, "370m, f32, 1 session");
}

#[test]
fn the_committed_page_is_that_of_the_committed_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lab");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".jsonl"))
        .collect();
    files.sort();
    assert!(files.len() > 1, "no run in {folder}");
    let mut run = Run::default();
    for file in &files {
        run.add(Run::read(file).unwrap());
    }
    let page = std::fs::read_to_string(format!("{folder}/report.html")).unwrap();
    assert!(
        page == html(&run),
        "docs/lab/report.html is another's: sillage lab report docs/lab/*.jsonl* -o docs/lab/report.html"
    );
}
