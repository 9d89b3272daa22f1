//! All kinds of jobs at a scale of seconds.

use super::answers::{ANSWERS, Answer};
use super::*;
use crate::measures::scaling::tests::{context, spot};

const SAMPLING: Sampling = Sampling {
    rounds: 2,
    seconds: 0.01,
    most: 2,
};

#[test]
fn writing_costs_joules_and_money_in_proportion_to_time() {
    let (context, _work) = context();
    let spot = spot(300);
    let prices = Prices {
        core_hour: 3600.0,
        watts: 10.0,
    };
    let points = run(&context, spot, &[1, 2], SAMPLING, prices).unwrap();
    let energy: Vec<&Point> = points.iter().filter(|p| p.metric == ENERGY.0).collect();
    let money: Vec<&Point> = points.iter().filter(|p| p.metric == MONEY.0).collect();
    assert_eq!((energy.len(), money.len()), (6, 6));
    if energy[0].at["modelled"] == true {
        for (energy, money) in energy.iter().zip(&money) {
            let (joules, dollars) = (energy.measured().unwrap(), money.measured().unwrap());
            // A core-second costs 1 dollar and 10 joules.
            let expected = joules[0] / 10.0 * 1e6;
            assert!((dollars[0] / expected - 1.0).abs() < 1e-9);
        }
    }
    assert!(energy[0].config["price_source"].is_string());
}

#[test]
fn trapezoids_are_exact_for_straight_lines_and_cover_the_answer() {
    for answer in ANSWERS {
        let parts = answer.trapezoids();
        assert_eq!(parts.len(), answer.depths);
        let steps: f64 = parts.iter().map(|(_, steps)| steps).sum();
        assert!((steps - answer.length as f64).abs() < 1e-6);
        let cost = |depth: f64| 3.0 + 0.25 * depth;
        let summed: f64 = parts.iter().map(|(d, n)| n * cost(*d as f64)).sum();
        let middle = 512.0 + answer.length as f64 / 2.0;
        let exact = answer.length as f64 * cost(middle);
        assert!((summed / exact - 1.0).abs() < 1e-9);
    }
}

#[test]
fn an_answer_has_the_energy_of_its_prompt_and_of_its_steps() {
    let (context, _work) = context();
    let answer = Answer {
        name: "short",
        length: 32,
        depths: 2,
    };
    let model = (Size::Tiny, Weights::Q8);
    let points = answers::run(&context, model, answer, Prices::default(), SAMPLING).unwrap();
    let energy: Vec<&Point> = points.iter().filter(|p| p.metric == ENERGY.0).collect();
    assert_eq!(energy.len(), 3);
    for point in energy {
        assert_eq!(point.at["answer"], "short");
        assert_eq!(point.number("length"), Some(32.0));
        assert_eq!(point.measured().unwrap().len(), 2);
    }
}

#[test]
fn the_quick_form_is_short() {
    let jobs = Cost.jobs(Scale::Quick).unwrap();
    let estimate: f64 = jobs.iter().map(|job| job.estimate).sum();
    assert!(estimate < 90.0, "{estimate}");
}
