use super::*;
use std::cell::RefCell;

fn order_of(seed: u64, twice: bool) -> Vec<usize> {
    let order = RefCell::new(Vec::new());
    let mut sides: Vec<Side<'_>> = (0..3)
        .map(|i| {
            let order = &order;
            Side::new(format!("side {i}"), move || {
                order.borrow_mut().push(i);
                Ok(i as f64)
            })
        })
        .collect();
    let run = if twice {
        compare_sides_twice
    } else {
        compare_sides
    };
    let sides_run = run(20, seed, &mut sides).unwrap();
    for i in 0..3 {
        assert_eq!(sides_run.samples(i).unwrap(), vec![i as f64; 20]);
    }
    assert_eq!(
        sides_run.again.map(|again| again.len()),
        twice.then_some(20)
    );
    drop(sides);
    order.into_inner()
}

#[test]
fn sides_take_turns_in_an_order_that_the_seed_fixes() {
    let order = order_of(7, false);
    assert_eq!(order, order_of(7, false));
    assert_ne!(order, order_of(8, false));
    // A warm-up, then every side once a round.
    assert_eq!(&order[..3], [0, 1, 2]);
    let rounds: Vec<&[usize]> = order[3..].chunks(3).collect();
    assert_eq!(rounds.len(), 20);
    for round in &rounds {
        let mut sorted = round.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2]);
    }
    assert!(rounds.iter().any(|round| *round != rounds[0]));
}

#[test]
fn the_first_side_runs_twice_for_its_noise() {
    let order = order_of(7, true);
    assert_eq!(order.len(), 3 + 20 * 4);
    assert_eq!(order.iter().filter(|&&side| side == 0).count(), 1 + 40);
}

#[test]
fn a_side_that_fails_is_missing_and_the_others_go_on() {
    let mut calls = 0;
    let mut sides = [
        Side::new("well", || Ok(1.0)),
        Side::new("breaks", || {
            calls += 1;
            if calls > 3 {
                Err(LabError::Failed("no such program".into()))
            } else {
                Ok(2.0)
            }
        }),
        Side::new("strange", || Ok(f64::INFINITY)),
    ];
    let run = compare_sides_twice(5, 1, &mut sides).unwrap();
    assert_eq!(run.samples(0).unwrap().len(), 5);
    assert_eq!(run.noise(), Some(0.0));
    let reason = |side: usize| match &run.sides[side].1 {
        Outcome::Missing { reason } => reason.clone(),
        Outcome::Measured { .. } => panic!("it failed"),
    };
    assert_eq!(reason(1), "no such program");
    assert!(reason(2).contains("no figure"));
    assert_eq!(run.ratio(0, 1, 0), None);
    drop(sides);
    assert_eq!(calls, 4, "a side that failed is not asked again");
}

#[test]
fn nothing_to_measure_is_an_error() {
    assert!(compare_sides(3, 0, &mut []).is_err());
    assert!(compare_sides(0, 0, &mut [Side::new("a", || Ok(1.0))]).is_err());
    assert!(seconds(|| Ok(())).unwrap() >= 0.0);
    assert!(seconds(|| Err(LabError::Failed("no".into()))).is_err());
}
