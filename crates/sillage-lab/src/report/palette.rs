//! One colour and one shape per series, throughout the report.
//!
//! Colours are told apart by people with any kind of colour vision, and where
//! they are not, the shape of the mark and the name at the line's end do it.
//! What a comma sets apart from an architecture (llama.cpp's side of it, one
//! without positions, one taught longer) has the architecture's colour, drawn
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
    /// Of an architecture that is drawn by itself as well: dashed and hollow.
    pub(crate) variant: bool,
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
    let (class, shape) = known(series).unwrap_or_else(|| {
        let mut others = names.iter().filter(|name| known(name).is_none());
        SPARE[others.position(|name| name == series).unwrap_or(0) % SPARE.len()]
    });
    Style {
        class,
        shape,
        variant: series.contains(',') && known(series).is_some(),
    }
}

/// Colour and mark of what stands before the comma.
fn known(series: &str) -> Option<(&'static str, Shape)> {
    match series.split(',').next().unwrap_or("").trim() {
        "Mamba-2" | "state space" | "Sillage" => Some(("c0", Shape::Circle)),
        "transformer" | "attention" | "PyTorch" => Some(("c1", Shape::Square)),
        "hybrid" => Some(("c2", Shape::Triangle)),
        "Mamba" => Some(("c3", Shape::Diamond)),
        _ => None,
    }
}

/// A mark at a place, with what it says when pointed at.
pub(crate) fn mark(svg: &mut Markup, style: Style, x: f64, y: f64, hollow: bool, says: &str) {
    let class = if hollow || style.variant {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_told_apart() {
        let names = ["Mamba", "Mamba, taught longer", "x", "y, z"].map(String::from);
        let styles: Vec<Style> = names.iter().map(|name| style(name, &names)).collect();
        for (i, one) in styles.iter().enumerate() {
            assert!(!styles[..i].contains(one), "{}", names[i]);
        }
        assert_eq!(styles[0].class, styles[1].class);
    }
}
