//! Charts as SVG.
//!
//! Why not a crate: `plotters` (0.3) draws text with a fixed colour and size
//! and knows neither `<title>` nor classes, `charming` needs a script at view
//! time. These pictures must be readable without scripts, take their colours
//! from the page (light and dark), keep their text selectable and speak to
//! screen readers, and what they need beyond that is lines, marks and ticks.
//!
//! The picture is laid out for the size of text on a phone; wide screens show
//! smaller text in the same places, so nothing collides that did not before.

use super::chart::{Axis, Body, Chart, Line, Range, Scale};
use super::markup::{Markup, coordinate};
use super::numbers;
use super::palette::{Style, mark, style};
use crate::claims::Estimate;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 92.0;
/// Bars have no names at their right.
const RIGHT_OF_BARS: f64 = 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 42.0;
/// Height of a line of a name.
const NAME: f64 = 12.5;
/// Width of a letter, generously.
const LETTER: f64 = 6.2;
/// A name this far from its line is as bad as one that covers a place of one.
const FAR: f64 = 5.0;
/// Places looked at between two marks of a line.
const STEPS: u32 = 12;
/// Missing values at the same place stand so far apart.
const BESIDE: f64 = 8.0;

/// The drawing surface: where values lie.
struct Plane {
    x: Range,
    y: Range,
    right: f64,
}

impl Plane {
    fn x(&self, value: f64) -> Option<f64> {
        Some(LEFT + self.x.part(value)? * (self.right - LEFT))
    }

    fn y(&self, value: f64) -> Option<f64> {
        Some(floor() - self.y.part(value)? * (floor() - TOP))
    }
}

fn floor() -> f64 {
    HEIGHT - BOTTOM
}

/// A chart as an `<svg>` element. `names` are all series of the report, in
/// order: a series looks the same in all pictures.
pub(crate) fn svg(chart: &Chart, names: &[String]) -> Markup {
    let (title, desc) = (format!("{}-t", chart.id), format!("{}-d", chart.id));
    let mut svg = Markup::new();
    svg.element(
        "svg",
        &[
            ("viewBox", &format!("0 0 {WIDTH} {HEIGHT}")),
            ("role", "img"),
            ("aria-labelledby", &format!("{title} {desc}")),
        ],
        |svg| {
            svg.says("title", &[("id", &title)], &chart.title);
            svg.says("desc", &[("id", &desc)], &chart.described());
            match &chart.body {
                Body::Lines { x, lines, rules } => draw_lines(svg, chart, x, lines, rules, names),
                Body::Bars { groups, lines } => draw_bars(svg, chart, groups, lines, names),
            }
        },
    );
    svg
}

fn y_range(chart: &Chart, room: f64) -> Range {
    let ends = chart
        .lines()
        .iter()
        .flat_map(|line| &line.dots)
        .filter_map(|dot| dot.y.as_ref().ok())
        .flat_map(|estimate| [estimate.low, estimate.value, estimate.high])
        .chain(chart.y.show.iter().copied());
    Range::holding(ends, chart.y.scale, room)
}

fn draw_lines(
    svg: &mut Markup,
    chart: &Chart,
    x: &Axis,
    lines: &[Line],
    rules: &[(f64, String)],
    names: &[String],
) {
    let positions = lines
        .iter()
        .flat_map(|line| line.dots.iter().map(|dot| dot.x))
        .chain(rules.iter().map(|(x, _)| *x));
    let plane = Plane {
        x: Range::holding(positions, x.scale, 0.03),
        y: y_range(chart, 0.06),
        right: WIDTH - RIGHT,
    };
    grid(svg, &plane, &chart.y);
    x_axis(svg, &plane, x);
    for (at, words) in rules {
        rule(svg, &plane, *at, words);
    }
    let mut ends = Vec::new();
    let strokes = strokes(&plane, lines);
    let mut gaps: Vec<f64> = Vec::new();
    for line in lines {
        let look = style(&line.name, names);
        let class = if look.variant { "variant" } else { "own" };
        svg.element(
            "g",
            &[("class", &format!("{} {class}", look.class))],
            |svg| {
                path(svg, &plane, line);
                for dot in &line.dots {
                    let says = says(chart, line, dot.x, &dot.y);
                    let Some(px) = plane.x(dot.x) else { continue };
                    match dot
                        .y
                        .as_ref()
                        .ok()
                        .and_then(|e| Some((e, plane.y(e.value)?)))
                    {
                        Some((estimate, py)) => {
                            whisker(svg, &plane, px, estimate);
                            mark(svg, look, px, py, false, &says);
                        }
                        None => {
                            let before = gaps.iter().filter(|gap| **gap == px).count();
                            gaps.push(px);
                            gap(svg, look, px - before as f64 * BESIDE, &says);
                        }
                    }
                }
            },
        );
        ends.extend(end_of(&plane, line, look, &strokes));
    }
    labels(svg, ends);
}

/// What a mark says when pointed at.
fn says(chart: &Chart, line: &Line, x: f64, value: &Result<Estimate, String>) -> String {
    let place = chart.place(x);
    match value {
        Ok(estimate) => format!(
            "{}, {place}: {}, {} {}",
            line.name,
            numbers::estimate(estimate, &chart.y.unit),
            estimate.n,
            if estimate.n == 1 { "sample" } else { "samples" }
        ),
        Err(reason) => format!("{}, {place}: missing, {reason}", line.name),
    }
}

/// A missing value: a hollow mark on the axis.
fn gap(svg: &mut Markup, look: Style, x: f64, says: &str) {
    svg.element("g", &[("class", "gap")], |svg| {
        mark(svg, look, x, floor(), true, says)
    });
}

/// The line, broken wherever a value is missing.
fn path(svg: &mut Markup, plane: &Plane, line: &Line) {
    let mut d = String::new();
    let mut drawing = false;
    for dot in &line.dots {
        let place = dot
            .y
            .as_ref()
            .ok()
            .and_then(|estimate| Some((plane.x(dot.x)?, plane.y(estimate.value)?)));
        match place {
            Some((x, y)) => {
                d.push(if drawing { 'L' } else { 'M' });
                d.push_str(&format!("{} {}", coordinate(x), coordinate(y)));
                drawing = true;
            }
            None => drawing = false,
        }
    }
    if d.contains('L') {
        svg.empty("path", &[("class", "line"), ("d", &d)]);
    }
}

fn whisker(svg: &mut Markup, plane: &Plane, x: f64, estimate: &Estimate) {
    if estimate.low >= estimate.high {
        return;
    }
    let top = plane.y(estimate.high).unwrap_or(TOP);
    // On a logarithmic axis an interval may reach below what can be drawn.
    let bottom = plane.y(estimate.low).unwrap_or(floor());
    let (left, right) = (coordinate(x - 2.5), coordinate(x + 2.5));
    let (x, top, bottom) = (coordinate(x), coordinate(top), coordinate(bottom));
    let d = format!("M{x} {top}V{bottom}M{left} {top}H{right}M{left} {bottom}H{right}");
    svg.empty("path", &[("class", "whisker"), ("d", &d)]);
}

/// Where a line's name belongs.
struct End {
    x: f64,
    y: f64,
    words: Vec<String>,
    class: &'static str,
}

impl End {
    fn width(&self) -> f64 {
        let letters = self.words.iter().map(|word| word.chars().count()).max();
        letters.unwrap_or(0) as f64 * LETTER
    }

    fn height(&self) -> f64 {
        self.words.len() as f64 * NAME
    }

    /// Whether it stands over the other, as far as width goes.
    fn over(&self, other: &Self) -> bool {
        self.x < other.x + other.width() && other.x < self.x + self.width()
    }
}

/// Places that lines pass, close enough together to see what a name would
/// cover.
fn strokes(plane: &Plane, lines: &[Line]) -> Vec<(f64, f64)> {
    let mut all = Vec::new();
    for line in lines {
        let places: Vec<Option<(f64, f64)>> = line
            .dots
            .iter()
            .map(|dot| Some((plane.x(dot.x)?, plane.y(dot.y.as_ref().ok()?.value)?)))
            .collect();
        for pair in places.windows(2) {
            if let [Some(from), Some(to)] = pair {
                all.extend((0..=STEPS).map(|step| {
                    let part = f64::from(step) / f64::from(STEPS);
                    (
                        from.0 + part * (to.0 - from.0),
                        from.1 + part * (to.1 - from.1),
                    )
                }));
            }
        }
        all.extend(places.into_iter().flatten());
    }
    all
}

fn end_of(plane: &Plane, line: &Line, look: Style, strokes: &[(f64, f64)]) -> Option<End> {
    let last = line.dots.iter().rev().find_map(|dot| {
        let estimate = dot.y.as_ref().ok()?;
        Some((plane.x(dot.x)?, plane.y(estimate.value)?))
    });
    let (x, y) = last?;
    let mut end = End {
        x: x + 8.0,
        y,
        words: wrapped(&line.name),
        class: look.class,
    };
    // Where other lines go on, the name stands where it covers least of them.
    let (reach, half) = (end.x + end.width(), end.height() / 2.0 + 1.0);
    let cost = |to: f64| {
        let covers =
            |(px, py): &&(f64, f64)| (end.x - 4.0..reach).contains(px) && (py - to).abs() < half;
        strokes.iter().filter(covers).count() as f64 + (to - y).abs() / FAR
    };
    let beside = [
        0.0,
        -half - 3.0,
        half + 3.0,
        -2.0 * half - 3.0,
        2.0 * half + 3.0,
    ];
    let best = beside
        .into_iter()
        .map(|by| y + by)
        .filter(|y| (TOP - 6.0..floor()).contains(y))
        .min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
    end.y = best.unwrap_or(y);
    Some(end)
}

/// A name in lines that fit beside the picture.
fn wrapped(name: &str) -> Vec<String> {
    let most = ((RIGHT - 8.0) / LETTER) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in name.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    for line in &mut lines {
        if line.chars().count() > most {
            *line = line.chars().take(most - 1).chain(['\u{2026}']).collect();
        }
    }
    lines.truncate(2);
    lines
}

/// Names at the ends of their lines, pushed apart where they would meet.
fn labels(svg: &mut Markup, mut ends: Vec<End>) {
    ends.sort_by(|a, b| a.y.total_cmp(&b.y));
    for end in &mut ends {
        end.y -= end.height() / 2.0;
    }
    for this in 1..ends.len() {
        let (before, rest) = ends.split_at_mut(this);
        for other in before.iter() {
            if rest[0].over(other) {
                rest[0].y = rest[0].y.max(other.y + other.height());
            }
        }
    }
    // What was pushed below the axis goes up again, and pushes others up.
    let mut limit = floor() - 2.0;
    for end in ends.iter_mut().rev() {
        let lowest = limit - end.height();
        if end.y > lowest {
            end.y = lowest;
            limit = lowest;
        }
    }
    for end in ends {
        let x = coordinate(end.x);
        svg.element(
            "text",
            &[("class", &format!("name {}", end.class)), ("x", &x)],
            |svg| {
                for (line, words) in end.words.iter().enumerate() {
                    let y = coordinate(end.y + NAME * (line as f64 + 0.78));
                    svg.says("tspan", &[("x", &x), ("y", &y)], words);
                }
            },
        );
    }
}

fn grid(svg: &mut Markup, plane: &Plane, axis: &Axis) {
    let (left, right) = (coordinate(LEFT), coordinate(plane.right));
    svg.says(
        "text",
        &[("class", "unit"), ("x", "2"), ("y", "11")],
        &axis_words(axis),
    );
    for tick in plane.y.ticks(5) {
        let Some(y) = plane.y(tick) else { continue };
        let at = coordinate(y);
        svg.empty(
            "line",
            &[
                ("class", "grid"),
                ("x1", &left),
                ("x2", &right),
                ("y1", &at),
                ("y2", &at),
            ],
        );
        svg.says(
            "text",
            &[
                ("class", "tick"),
                ("text-anchor", "end"),
                ("x", &coordinate(LEFT - 7.0)),
                ("y", &coordinate(y + 3.8)),
            ],
            &numbers::on_axis(tick, &axis.unit),
        );
    }
    let bottom = coordinate(floor());
    svg.empty(
        "line",
        &[
            ("class", "axis"),
            ("x1", &left),
            ("x2", &right),
            ("y1", &bottom),
            ("y2", &bottom),
        ],
    );
}

fn axis_words(axis: &Axis) -> String {
    match axis.scale {
        Scale::Linear => axis.label.clone(),
        Scale::Log2 | Scale::Log10 if axis.label.is_empty() => "log scale".into(),
        Scale::Log2 | Scale::Log10 => format!("{}, log scale", axis.label),
    }
}

fn x_axis(svg: &mut Markup, plane: &Plane, axis: &Axis) {
    let ticks = plane.x.ticks(7);
    for tick in &ticks {
        let Some(x) = plane.x(*tick) else { continue };
        let at = coordinate(x);
        svg.empty(
            "line",
            &[
                ("class", "axis"),
                ("x1", &at),
                ("x2", &at),
                ("y1", &coordinate(floor())),
                ("y2", &coordinate(floor() + 4.0)),
            ],
        );
        let words = match axis.scale {
            Scale::Log2 => numbers::tick(*tick),
            _ => numbers::short(*tick),
        };
        middle(svg, "tick", x, floor() + 17.0, &words);
    }
    middle(
        svg,
        "unit",
        (LEFT + plane.right) / 2.0,
        HEIGHT - 6.0,
        &axis_words(axis),
    );
}

fn middle(svg: &mut Markup, class: &'static str, x: f64, y: f64, words: &str) {
    svg.says(
        "text",
        &[
            ("class", class),
            ("text-anchor", "middle"),
            ("x", &coordinate(x)),
            ("y", &coordinate(y)),
        ],
        words,
    );
}

fn rule(svg: &mut Markup, plane: &Plane, at: f64, words: &str) {
    let Some(x) = plane.x(at) else { return };
    let place = coordinate(x);
    svg.empty(
        "line",
        &[
            ("class", "rule"),
            ("x1", &place),
            ("x2", &place),
            ("y1", &coordinate(TOP)),
            ("y2", &coordinate(floor())),
        ],
    );
    let room = words.chars().count() as f64 * LETTER / 2.0;
    let x = x.clamp(
        LEFT + room - 4.0,
        (plane.right + RIGHT - 4.0 - room).max(LEFT + room - 4.0),
    );
    middle(svg, "note", x, TOP - 4.0, words);
}

fn draw_bars(svg: &mut Markup, chart: &Chart, groups: &[String], lines: &[Line], names: &[String]) {
    let measured = y_range(chart, 0.06);
    // Bars stand on zero; where zero is not in view there are marks alone.
    let standing = chart.y.show.contains(&0.0);
    let plane = Plane {
        x: Range::exactly(0.0, groups.len().max(1) as f64),
        y: if standing {
            Range::exactly(lowest(chart), measured.high())
        } else {
            measured
        },
        right: WIDTH - RIGHT_OF_BARS,
    };
    grid(svg, &plane, &chart.y);
    let room = (plane.right - LEFT) / groups.len().max(1) as f64;
    let step = (room * 0.72 / lines.len().max(1) as f64).min(38.0);
    for (place, group) in groups.iter().enumerate() {
        let x = LEFT + room * (place as f64 + 0.5);
        group_name(svg, x, room - 4.0, group);
    }
    for (place, line) in lines.iter().enumerate() {
        let look = style(&line.name, names);
        let class = if look.variant { "variant" } else { "own" };
        svg.element(
            "g",
            &[("class", &format!("{} {class}", look.class))],
            |svg| {
                for dot in &line.dots {
                    let from = place as f64 - lines.len() as f64 / 2.0;
                    let x = LEFT + room * (dot.x + 0.5) + step * (from + 0.5);
                    let wide = if standing { step * 0.84 } else { 0.0 };
                    bar(svg, chart, &plane, line, (dot.x, &dot.y), look, (x, wide));
                }
            },
        );
    }
}

/// The name of a group, drawn narrower where it is a little too long and cut
/// where it is much too long.
fn group_name(svg: &mut Markup, x: f64, room: f64, name: &str) {
    let most = ((room * 1.45 / LETTER) as usize).max(2);
    let words: String = if name.chars().count() > most {
        name.chars().take(most - 1).chain(['\u{2026}']).collect()
    } else {
        name.into()
    };
    let (x, y, length) = (coordinate(x), coordinate(floor() + 17.0), coordinate(room));
    let mut attributes = vec![
        ("class", "tick"),
        ("text-anchor", "middle"),
        ("x", &*x),
        ("y", &*y),
    ];
    if words.chars().count() as f64 * LETTER > room {
        attributes.extend([
            ("textLength", &*length),
            ("lengthAdjust", "spacingAndGlyphs"),
        ]);
    }
    svg.says("text", &attributes, &words);
}

fn lowest(chart: &Chart) -> f64 {
    let lows = chart.lines().iter().flat_map(|line| &line.dots);
    lows.filter_map(|dot| Some(dot.y.as_ref().ok()?.low))
        .fold(0.0, f64::min)
}

fn bar(
    svg: &mut Markup,
    chart: &Chart,
    plane: &Plane,
    line: &Line,
    (group, value): (f64, &Result<Estimate, String>),
    look: Style,
    (x, width): (f64, f64),
) {
    let says = says(chart, line, group, value);
    let Some((estimate, y)) = value
        .as_ref()
        .ok()
        .and_then(|e| Some((e, plane.y(e.value)?)))
    else {
        gap(svg, look, x, &says);
        return;
    };
    let zero = plane.y(0.0).unwrap_or(floor());
    if width > 0.0 {
        svg.element(
            "rect",
            &[
                ("class", "bar"),
                ("x", &coordinate(x - width / 2.0)),
                ("y", &coordinate(y.min(zero))),
                ("width", &coordinate(width)),
                ("height", &coordinate((zero - y).abs().max(0.5))),
                ("rx", "1.5"),
            ],
            |svg| svg.says("title", &[], &says),
        );
    }
    svg.element("g", &[("class", "over")], |svg| {
        whisker(svg, plane, x, estimate)
    });
    mark(svg, look, x, y, false, &says);
}
