//! Parity, modular arithmetic and permutations against evaluators of their own.

use super::super::group::permutations;
use super::*;

fn last_target(sample: &Sample) -> u32 {
    let scored = scored(sample);
    assert_eq!(scored.len(), 1);
    assert_eq!(scored[0].0, sample.tokens.len() - 1);
    scored[0].1
}

#[test]
fn parity_counts_ones_and_is_balanced() {
    let task = task("name = 'parity'\nmin_length = 3\nmax_length = 40");
    let mut odd = 0;
    let mut lengths = std::collections::BTreeSet::new();
    for index in 0..2_000 {
        let sample = task.sample(0, index);
        let ones = sample.tokens.iter().filter(|&&bit| bit == 1).count();
        assert_eq!(last_target(&sample) as usize, ones % 2);
        odd += ones % 2;
        lengths.insert(sample.tokens.len());
    }
    assert!((900..1_100).contains(&odd), "{odd} of 2000 are odd");
    assert!(lengths.into_iter().eq(2..=39));
}

#[test]
fn parity_can_be_scored_everywhere() {
    let task = super::task("name = 'parity'\nmin_length = 20\nmax_length = 20\nscore = 'every'");
    let sample = task.sample(0, 0);
    for (i, target) in sample.targets.iter().enumerate() {
        assert_eq!(*target, sample.tokens[..=i].iter().sum::<u32>() % 2);
    }
}

/// Evaluates an expression by recursive descent over its text, which knows
/// nothing of how it was made.
struct Evaluator<'a> {
    rest: &'a [char],
    modulus: i64,
}

impl Evaluator<'_> {
    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.first() == Some(&wanted);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn sum(&mut self) -> i64 {
        let mut value = self.product();
        loop {
            if self.take('+') {
                value += self.product();
            } else if self.take('-') {
                value -= self.product();
            } else {
                return value.rem_euclid(self.modulus);
            }
        }
    }

    fn product(&mut self) -> i64 {
        let mut value = self.atom();
        while self.take('*') {
            value = value * self.atom() % self.modulus;
        }
        value
    }

    fn atom(&mut self) -> i64 {
        if self.take('-') {
            return -self.atom();
        }
        if self.take('(') {
            let value = self.sum();
            assert!(self.take(')'), "unclosed before {:?}", self.rest);
            return value;
        }
        let digit = self.rest[0].to_digit(10).unwrap();
        self.rest = &self.rest[1..];
        i64::from(digit)
    }
}

/// The text of an expression and its value by [`Evaluator`].
fn evaluate(sample: &Sample, modulus: i64) -> (String, u32) {
    let symbols: Vec<char> = ('0'..='9')
        .take(modulus as usize)
        .chain("+-*=()".chars())
        .collect();
    let text: Vec<char> = sample.tokens.iter().map(|&t| symbols[t as usize]).collect();
    let (end, expression) = text.split_last().unwrap();
    assert_eq!(*end, '=');
    let mut evaluator = Evaluator {
        rest: expression,
        modulus,
    };
    let value = evaluator.sum().rem_euclid(modulus);
    assert!(
        evaluator.rest.is_empty(),
        "{text:?}: left {:?}",
        evaluator.rest
    );
    (expression.iter().collect(), value as u32)
}

#[test]
fn the_evaluator_knows_the_published_examples() {
    let value = |text: &str| {
        let rest: Vec<char> = text.chars().collect();
        Evaluator {
            rest: &rest,
            modulus: 5,
        }
        .sum()
    };
    assert_eq!(value("1+2*3"), 2);
    assert_eq!(value("1-1-1"), 4);
    assert_eq!(value("0*1+4*3-2"), 0);
    assert_eq!(value("((1-2)*(-3))"), 3);
}

#[test]
fn flat_arithmetic_has_the_value_of_usual_precedence() {
    let task =
        task("name = 'modular-arithmetic'\nbrackets = false\nmin_length = 3\nmax_length = 40");
    let mut counts = [0u32; 5];
    let mut lengths = std::collections::BTreeSet::new();
    let mut seen = String::new();
    for index in 0..3_000 {
        let sample = task.sample(0, index);
        let (text, value) = evaluate(&sample, 5);
        assert_eq!(last_target(&sample), value, "{text}");
        assert!(!text.contains(['(', ')']));
        lengths.insert(text.len());
        counts[value as usize] += 1;
        seen.push_str(&text);
    }
    assert!(lengths.into_iter().eq((1..=37).step_by(2)));
    assert!(counts.iter().all(|&count| count > 400), "{counts:?}");
    let operators = ['+', '-', '*'].map(|c| seen.matches(c).count());
    let third = operators.iter().sum::<usize>() / 3;
    assert!(operators.iter().all(|&n| n.abs_diff(third) < third / 20));
}

#[test]
fn nested_arithmetic_has_its_value_and_length() {
    for (multiply, modulus) in [(false, 5), (true, 5), (true, 10)] {
        let task = task(&format!(
            "name = 'modular-arithmetic'\nbrackets = true\nmin_length = 3\nmax_length = 40\n\
             multiply = {multiply}\nmodulus = {modulus}"
        ));
        let mut lengths = std::collections::BTreeSet::new();
        let mut counts = vec![0u32; modulus as usize];
        let mut seen = String::new();
        for index in 0..3_000 {
            let sample = task.sample(0, index);
            let (text, value) = evaluate(&sample, modulus);
            assert_eq!(last_target(&sample), value, "{text}");
            lengths.insert(text.len());
            counts[value as usize] += 1;
            seen.push_str(&text);
        }
        assert!(lengths.into_iter().eq(2..=37));
        assert_eq!(seen.contains('*'), multiply);
        assert!(seen.contains("(-") && seen.contains("+("));
        if !multiply {
            assert!(counts.iter().all(|c| (500..700).contains(c)), "{counts:?}");
        }
    }
}

#[test]
fn nested_arithmetic_splits_at_every_place_alike() {
    let task =
        task("name = 'modular-arithmetic'\nbrackets = true\nmin_length = 16\nmax_length = 16");
    let mut lefts = [0u32; 14];
    for index in 0..4_500 {
        let (text, _) = evaluate(&task.sample(0, index), 5);
        let text: Vec<char> = text.chars().collect();
        let mut depth = 0;
        // The operator between the sides: a sign at depth 1 that ends an operand.
        let split = (0..text.len()).find(|&at| {
            depth += i32::from(text[at] == '(') - i32::from(text[at] == ')');
            let operand_ends = at > 0 && (text[at - 1] == ')' || text[at - 1].is_ascii_digit());
            depth == 1 && "+-".contains(text[at]) && operand_ends
        });
        lefts[split.unwrap() - 1] += 1;
    }
    assert_eq!(lefts[0], 0);
    let sides = &lefts[1..10];
    assert!(sides.iter().all(|n| (400..600).contains(n)), "{lefts:?}");
    assert_eq!(sides.iter().sum::<u32>(), 4_500);
}

#[test]
fn word_problems_move_things_as_the_permutations_say() {
    for n in 2..=5usize {
        let task = task(&format!(
            "name = 'symmetric-group'\nn = {n}\nmin_length = 1\nmax_length = 30"
        ));
        let elements = permutations(n);
        assert_eq!(task.vocab(), (1..=n).product::<usize>());
        assert_eq!(task.vocab(), elements.len());
        assert!(elements.is_sorted() && elements[0].is_sorted());
        let mut last = vec![0u32; elements.len()];
        for index in 0..4_000 {
            let sample = task.sample(0, index);
            // Row by row instead of by table: things in boxes, each token moves them.
            let mut things: Vec<usize> = (0..n).collect();
            for (token, target) in sample.tokens.iter().zip(&sample.targets) {
                let moves = &elements[*token as usize];
                things = (0..n).map(|place| things[moves[place]]).collect();
                assert_eq!(elements[*target as usize], things);
            }
            last[*sample.targets.last().unwrap() as usize] += 1;
        }
        assert!(last.iter().all(|&count| count > 0), "S{n}: {last:?}");
    }
}

#[test]
fn word_problems_can_be_scored_at_the_end() {
    let text = "name = 'symmetric-group'\nn = 3\nmin_length = 9\nmax_length = 9";
    let every = task(text).sample(0, 0);
    let end = task(&format!("{text}\nscore = 'end'")).sample(0, 0);
    assert_eq!(every.tokens, end.tokens);
    assert_eq!(last_target(&end), every.targets[8]);
    assert_eq!(scored(&every).len(), 9);
}
