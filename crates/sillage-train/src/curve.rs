//! The loss curve as a picture.

use crate::trainer::Progress;
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 40.0;
/// Steps that are drawn, at most; between them the loss is averaged.
const POINTS: usize = 400;

/// An SVG of training loss (a line) and validation loss (dots) over steps.
pub(crate) fn svg(name: &str, progress: &Progress) -> String {
    let group = progress.steps.len().div_ceil(POINTS).max(1);
    let train: Vec<(f64, f64)> = progress
        .steps
        .chunks(group)
        .map(|steps| {
            let mean = steps.iter().map(|s| s.loss).sum::<f64>() / steps.len() as f64;
            (steps[steps.len() / 2].step as f64, mean)
        })
        .collect();
    let valid: Vec<(f64, f64)> = progress
        .validations
        .iter()
        .map(|v| (v.step as f64, v.loss))
        .collect();
    let all = || train.iter().chain(&valid).filter(|p| p.1.is_finite());
    let steps = all().map(|p| p.0).fold(1.0, f64::max);
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| {
        (low.min(p.1), high.max(p.1))
    });
    let (low, high) = match (low.is_finite(), low < high) {
        (false, _) => (0.0, 1.0),
        (_, true) => (low, high),
        (_, false) => (low.min(0.0), low.max(0.0) + 1.0),
    };
    let x = |step: f64| LEFT + step / steps * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <title>Loss of {name}</title><style>text{{font:13px sans-serif;fill:#555}}\
         line{{stroke:#999;stroke-opacity:.4}}</style>\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\
         <text x=\"{LEFT}\" y=\"20\">{name}: loss (nats a token) over steps; line: training, dots: \
         validation</text>",
        name = escape(name)
    );
    for i in 0..=4 {
        let part = f64::from(i) / 4.0;
        let (loss, step) = (low + part * (high - low), part * steps);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <text x=\"8\" y=\"{:.1}\">{loss:.3}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step:.0}</text>",
            WIDTH - RIGHT,
            y(loss),
            y(loss),
            y(loss) + 4.0,
            x(step).min(WIDTH - RIGHT - 12.0),
            HEIGHT - 14.0
        );
    }
    let line: Vec<String> = train
        .iter()
        .filter(|p| p.1.is_finite())
        .map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1)))
        .collect();
    let _ = write!(
        out,
        "<polyline fill=\"none\" stroke=\"#0b6e99\" stroke-width=\"1.5\" points=\"{}\"/>",
        line.join(" ")
    );
    for point in valid.iter().filter(|p| p.1.is_finite()) {
        let (x, y) = (x(point.0), y(point.1));
        let _ = write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#c2410c\"/>"
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::{Step, Validation};

    #[test]
    fn a_curve_has_no_holes() {
        let mut progress = Progress::default();
        let empty = svg("a<b", &progress);
        assert!(!empty.contains("NaN"), "{empty}");
        assert!(svg("a<b", &progress).contains("a&lt;b"));
        for step in 1..=1000 {
            progress.steps.push(Step {
                step,
                loss: 5.0 / step as f64,
                lr: 1e-3,
                norm: 1.0,
                tokens: 8,
                seconds: 0.1,
            });
        }
        progress.validations.push(Validation {
            step: 1000,
            loss: f64::NAN,
            accuracy: 0.5,
            bits_per_byte: None,
        });
        let picture = svg("a", &progress);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
        let points = picture.split("points=\"").nth(1).unwrap();
        assert!(points.split(' ').count() > 300);
    }
}
