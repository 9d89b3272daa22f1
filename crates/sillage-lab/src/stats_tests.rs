use super::*;
use proptest::prelude::*;

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

#[test]
fn medians_by_hand() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[1.0, f64::NAN]), None);
    assert_eq!(quantile(&[0.0, 10.0], 0.025), Some(0.25));
    assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
}

#[test]
fn intervals_by_hand() {
    // Wilson's for 8 of 10, as in the tables: .490 to .943.
    let eight = wilson(8, 10).unwrap();
    assert!(close(eight.low, 0.4902, 5e-4) && close(eight.high, 0.9433, 5e-4));
    let none = wilson(0, 20).unwrap();
    assert!(none.low == 0.0 && close(none.high, 0.1611, 5e-4));
    assert_eq!(wilson(1, 0), None);
    assert_eq!(wilson(3, 2), None);
    // 1, 2, 3: mean 2, standard error 1/sqrt(3), t(2) = 4.303.
    let three = mean(&[1.0, 2.0, 3.0]).unwrap();
    assert!(close(three.high, 2.0 + 4.303 / 3.0_f64.sqrt(), 1e-9));
    assert!(close(student(60), 2.0003, 1e-3) && close(student(1_000), 1.9623, 1e-3));
    let one = mean(&[5.0]).unwrap();
    assert_eq!((one.low, one.high, one.n), (5.0, 5.0, 1));
}

#[test]
fn a_bootstrap_of_three_spans_them() {
    // All three draws are the least with probability 1/27, and the median of a
    // resample is the least with 7/27: the interval is the whole range.
    let interval = bootstrap_median(&[1.0, 2.0, 4.0], 1).unwrap();
    assert_eq!(
        (interval.low, interval.value, interval.high),
        (1.0, 2.0, 4.0)
    );
}

#[test]
fn pairs_know_what_both_share() {
    // Both sides drift alike, so the ratio of a round is always 2.
    let b: Vec<f64> = (1..=9).map(f64::from).collect();
    let a: Vec<f64> = b.iter().map(|x| 2.0 * x).collect();
    let paired = ratio(&a, &b, Pairing::Paired, 3).unwrap();
    assert_eq!((paired.low, paired.value, paired.high), (2.0, 2.0, 2.0));
    let apart = ratio(&a, &b, Pairing::Unpaired, 3).unwrap();
    assert!(apart.low < 1.5 && apart.high > 2.5);
    assert_eq!(ratio(&a, &b[1..], Pairing::Paired, 3), None);
    assert_eq!(ratio(&a, &[0.0], Pairing::Unpaired, 3), None);
    assert_eq!(ratio(&[], &[], Pairing::Paired, 3), None);
}

#[test]
fn noise_by_hand() {
    // 2 of 101, 0, and 10 of 105: the median is 2/101.
    let noise = aa_noise(&[100.0, 50.0, 100.0], &[102.0, 50.0, 110.0]).unwrap();
    assert!(close(noise, 2.0 / 101.0, 1e-12) && !too_noisy(noise));
    assert!(too_noisy(0.031) && !too_noisy(0.03) && too_noisy(f64::NAN));
    assert_eq!(aa_noise(&[], &[1.0]), None);
    assert_eq!(aa_noise(&[0.0], &[0.0]), Some(0.0));
}

/// A curve of single samples.
fn curve(points: &[(f64, f64)]) -> Vec<Sampled> {
    points.iter().map(|&(x, y)| (x, vec![y])).collect()
}

#[test]
fn slopes_are_powers() {
    let square = curve(&[(1.0, 3.0), (10.0, 300.0), (100.0, 30_000.0)]);
    assert!(close(slope(&square, 0).unwrap().value, 2.0, 1e-12));
    let flat = curve(&[(1.0, 3.0), (10.0, 3.0)]);
    assert!(close(slope(&flat, 0).unwrap().value, 0.0, 1e-12));
    assert_eq!(slope(&curve(&[(1.0, 3.0)]), 0), None);
    assert_eq!(slope(&curve(&[(1.0, 3.0), (2.0, -1.0)]), 0), None);
    // A gap is left out.
    let mut gap = square;
    gap.push((1_000.0, Vec::new()));
    assert!(close(slope(&gap, 0).unwrap().value, 2.0, 1e-12));
}

#[test]
fn crossovers_by_hand() {
    // y = x against y = 32: they meet at 32, between 16 and 64.
    let linear = curve(&[(4.0, 4.0), (16.0, 16.0), (64.0, 64.0)]);
    let flat = curve(&[(4.0, 32.0), (16.0, 32.0), (64.0, 32.0)]);
    let found = crossover(&linear, &flat, 0).unwrap();
    assert!(close(found.x.value, 32.0, 1e-9));
    assert!(!found.first_is_lower_after);
    assert_eq!((found.crossings, found.share), (1, 1.0));
    let other = crossover(&flat, &linear, 0).unwrap();
    assert!(close(other.x.value, 32.0, 1e-9) && other.first_is_lower_after);
    // Within 4 ... 16 they do not cross, and nothing is extrapolated.
    assert_eq!(crossover(&linear[..2], &flat[..2], 0), None);
    // Meeting at a measured place.
    let meets = curve(&[(4.0, 4.0), (32.0, 32.0), (64.0, 64.0)]);
    let level = curve(&[(4.0, 32.0), (32.0, 32.0), (64.0, 32.0)]);
    assert_eq!(crossover(&meets, &level, 0).unwrap().x.value, 32.0);
    // Touching from one side is no crossing.
    assert_eq!(crossover(&meets[..2], &level[..2], 0), None);
}

#[test]
fn no_line_is_drawn_across_a_gap() {
    let mut linear = curve(&[(4.0, 4.0), (16.0, 16.0), (64.0, 64.0)]);
    let flat = curve(&[(4.0, 32.0), (16.0, 32.0), (64.0, 32.0)]);
    linear[1].1.clear();
    assert_eq!(crossover(&linear, &flat, 0), None);
    // A place that was never meant to be measured is no gap.
    linear.remove(1);
    assert!(close(
        crossover(&linear, &flat, 0).unwrap().x.value,
        32.0,
        1e-9
    ));
}

#[test]
fn the_last_crossing_counts() {
    let a = curve(&[(1.0, 1.0), (2.0, 3.0), (4.0, 1.0), (8.0, 8.0)]);
    let b = curve(&[(1.0, 2.0), (2.0, 2.0), (4.0, 2.0), (8.0, 2.0)]);
    let found = crossover(&a, &b, 0).unwrap();
    assert_eq!(found.crossings, 3);
    assert!(found.x.value > 4.0 && found.x.value < 8.0 && !found.first_is_lower_after);
}

fn samples() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.01_f64..1_000.0, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_interval_holds_its_figure_and_stays_within_the_samples(s in samples(), seed: u64) {
        let interval = bootstrap_median(&s, seed).unwrap();
        let least = s.iter().copied().fold(f64::INFINITY, f64::min);
        let most = s.iter().copied().fold(0.0, f64::max);
        prop_assert!(interval.contains(interval.value));
        prop_assert!(least <= interval.low && interval.high <= most);
        prop_assert_eq!(interval, bootstrap_median(&s, seed).unwrap());
    }

    #[test]
    fn the_order_of_samples_does_not_move_the_median(s in samples(), seed: u64) {
        let mut shuffled = s.clone();
        Dice::new(seed).shuffle(&mut shuffled);
        prop_assert_eq!(median(&s), median(&shuffled));
        shuffled.sort_by(f64::total_cmp);
        let mut sorted = s;
        sorted.sort_by(f64::total_cmp);
        prop_assert_eq!(sorted, shuffled);
    }

    #[test]
    fn a_ratio_turns_over(s in samples(), t in samples(), scale in 0.1_f64..10.0) {
        let there = ratio(&s, &t, Pairing::Unpaired, 5).unwrap();
        let back = ratio(&t, &s, Pairing::Unpaired, 5).unwrap();
        prop_assert!((there.value * back.value - 1.0).abs() < 1e-9);
        let scaled: Vec<f64> = s.iter().map(|x| x * scale).collect();
        let exact = ratio(&scaled, &s, Pairing::Paired, 5).unwrap();
        prop_assert!((exact.low - scale).abs() < 1e-9 && (exact.high - scale).abs() < 1e-9);
    }

    #[test]
    fn wilson_stays_a_proportion(trials in 1_u64..10_000, share in 0.0_f64..=1.0) {
        let successes = (share * trials as f64) as u64;
        let interval = wilson(successes, trials).unwrap();
        prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
        prop_assert!(interval.contains(interval.value) && interval.low < interval.high);
        // What failed is the mirror of what succeeded.
        let mirror = wilson(trials - successes, trials).unwrap();
        prop_assert!((mirror.low - (1.0 - interval.high)).abs() < 1e-9);
    }

    #[test]
    fn a_crossover_lies_within_what_was_measured(
        a in prop::collection::vec(samples(), 2..8),
        b in prop::collection::vec(samples(), 2..8),
    ) {
        let named = |curve: Vec<Vec<f64>>| -> Vec<Sampled> {
            (0..).map(|i| f64::from(1 << i)).zip(curve).collect()
        };
        let (a, b) = (named(a), named(b));
        let last = f64::from(1 << (a.len().min(b.len()) - 1));
        if let Some(found) = crossover(&a, &b, 9) {
            let x = found.x;
            prop_assert!(1.0 <= x.low && x.low <= x.value && x.value <= x.high && x.high <= last);
            prop_assert!(found.crossings >= 1 && (0.0..=1.0).contains(&found.share));
            let other = crossover(&b, &a, 9).unwrap();
            prop_assert!((other.x.value / x.value - 1.0).abs() < 1e-9);
            prop_assert_ne!(other.first_is_lower_after, found.first_is_lower_after);
        }
    }

    #[test]
    fn dice_stay_below(n in 1_usize..1_000, seed: u64) {
        let mut dice = Dice::new(seed);
        for _ in 0..100 {
            prop_assert!(dice.below(n) < n);
        }
    }
}
