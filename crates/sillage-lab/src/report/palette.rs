//! One colour and one shape per series, throughout the report.
//!
//! Colours are told apart by people with any kind of colour vision, and where
//! they are not, the shape of the mark and the name at the line's end do it.
//! llama.cpp's side of an architecture has the architecture's colour, drawn
//! with dashes and hollow marks.

use super::markup::{Markup, coordinate};

/// How marks look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Pentagon,
    Cross,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Class of the colour, `c0` to `c7`.
    pub(crate) class: &'static str,
    pub(crate) shape: Shape,
    /// Measured by another program: dashed and hollow.
    pub(crate) foreign: bool,
}

const SPARE: [(&str, Shape); 4] = [
    ("c4", Shape::Pentagon),
    ("c5", Shape::Cross),
    ("c6", Shape::Diamond),
    ("c7", Shape::Triangle),
];

/// The style of a series; of one without a colour of its own, the next spare
/// one by its place among `names`.
pub(crate) fn style(series: &str, names: &[String]) -> Style {
    let (base, foreign) = match series.split_once(',') {
        Some((base, program)) if program.contains("llama.cpp") => (base, true),
        _ => (series, false),
    };
    let known = match base.trim() {
        "Mamba-2" | "state space" | "Sillage" => Some(("c0", Shape::Circle)),
        "transformer" | "attention" | "PyTorch" => Some(("c1", Shape::Square)),
        "hybrid" => Some(("c2", Shape::Triangle)),
        "Mamba" => Some(("c3", Shape::Diamond)),
        _ => None,
    };
    let (class, shape) = known.unwrap_or_else(|| {
        let others = names.iter().filter(|name| !is_known(name));
        let place = others.into_iter().position(|name| name == series);
        SPARE[place.unwrap_or(0) % SPARE.len()]
    });
    Style {
        class,
        shape,
        foreign,
    }
}

fn is_known(series: &str) -> bool {
    let base = series.split(',').next().unwrap_or("").trim();
    matches!(
        base,
        "Mamba-2"
            | "state space"
            | "Sillage"
            | "transformer"
            | "attention"
            | "PyTorch"
            | "hybrid"
            | "Mamba"
    )
}

/// A mark at a place, with what it says when pointed at.
pub(crate) fn mark(svg: &mut Markup, style: Style, x: f64, y: f64, hollow: bool, says: &str) {
    let class = if hollow || style.foreign {
        "mark hollow"
    } else {
        "mark"
    };
    let at = |points: &[(f64, f64)]| -> String {
        let points: Vec<_> = points
            .iter()
            .map(|(dx, dy)| format!("{},{}", coordinate(x + dx), coordinate(y + dy)))
            .collect();
        points.join(" ")
    };
    let title = |svg: &mut Markup| {
        if !says.is_empty() {
            svg.says("title", &[], says);
        }
    };
    let polygon = |svg: &mut Markup, points: &[(f64, f64)]| {
        svg.element(
            "polygon",
            &[("class", class), ("points", &at(points))],
            title,
        );
    };
    match style.shape {
        Shape::Circle => svg.element(
            "circle",
            &[
                ("class", class),
                ("cx", &coordinate(x)),
                ("cy", &coordinate(y)),
                ("r", "3.4"),
            ],
            title,
        ),
        Shape::Square => {
            polygon(svg, &[(-3.1, -3.1), (3.1, -3.1), (3.1, 3.1), (-3.1, 3.1)]);
        }
        Shape::Triangle => polygon(svg, &[(0.0, -4.2), (4.1, 3.1), (-4.1, 3.1)]),
        Shape::Diamond => polygon(svg, &[(0.0, -4.5), (4.5, 0.0), (0.0, 4.5), (-4.5, 0.0)]),
        Shape::Pentagon => polygon(
            svg,
            &[
                (0.0, -4.2),
                (4.0, -1.3),
                (2.5, 3.4),
                (-2.5, 3.4),
                (-4.0, -1.3),
            ],
        ),
        Shape::Cross => polygon(
            svg,
            &[
                (-1.3, -4.0),
                (1.3, -4.0),
                (1.3, -1.3),
                (4.0, -1.3),
                (4.0, 1.3),
                (1.3, 1.3),
                (1.3, 4.0),
                (-1.3, 4.0),
                (-1.3, 1.3),
                (-4.0, 1.3),
                (-4.0, -1.3),
                (-1.3, -1.3),
            ],
        ),
    }
}
