//! From real durations to whole steps, without letting errors add up.

use serde::{Deserialize, Serialize};

/// No unit lasts longer than ten seconds, whatever the weights say.
const LONGEST: f32 = 400.0;

/// How many steps were asked for and how many were given, over a whole utterance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(crate) struct Clock {
    asked: f64,
    given: u64,
}

/// As bits, which no notation rounds.
impl From<(u64, u64)> for Clock {
    fn from((asked, given): (u64, u64)) -> Self {
        Clock {
            asked: f64::from_bits(asked),
            given,
        }
    }
}

impl From<Clock> for (u64, u64) {
    fn from(clock: Clock) -> Self {
        (clock.asked.to_bits(), clock.given)
    }
}

impl Clock {
    /// Whole steps for a unit of `steps`; one that sounds gets at least one.
    pub(crate) fn give(&mut self, steps: f32, speed: f32, sounds: bool) -> u32 {
        self.asked += f64::from(steps.min(LONGEST) / speed);
        let due = (self.asked + 0.5) as u64;
        let count = due.saturating_sub(self.given).max(u64::from(sounds));
        self.given = self.given.saturating_add(count);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether these are numbers a clock can have come to.
    pub(crate) fn is_sane(&self) -> bool {
        (0.0..1e12).contains(&self.asked) && self.given < 1 << 40
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_add_up() {
        let mut clock = Clock::default();
        let given: Vec<u32> = (0..100).map(|_| clock.give(1.37, 1.0, true)).collect();
        assert_eq!(given.iter().sum::<u32>(), 137);
        assert!(given.iter().all(|&n| n == 1 || n == 2));
    }

    #[test]
    fn short_phones_sound_and_are_paid_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.give(0.0, 1.0, true), 1);
        assert_eq!(clock.give(0.2, 1.0, true), 1);
        assert_eq!(clock.give(2.8, 1.0, true), 1);
        assert_eq!(clock.give(0.0, 1.0, false), 0);
    }

    #[test]
    fn speed_divides_and_length_is_bounded() {
        let mut clock = Clock::default();
        assert_eq!(clock.give(10.0, 2.0, true), 5);
        assert_eq!(clock.give(f32::INFINITY, 1.0, true), 400);
    }
}
