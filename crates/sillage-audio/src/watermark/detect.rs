//! Finding the mark: a matched filter over every place in the pattern's period
//! and over changes of speed and pitch.

use super::features::{Row, Spectrogram, Template};
use super::pattern::{BANDS, BLOCK, PERIOD, SYMBOLS, UNIT, UNITS, symbol_of};
use super::{HOP, Key, SAMPLE_RATE, payload};

/// Frames of one second.
const SECOND: usize = SAMPLE_RATE as usize / HOP;
/// Frames of the longest stretch that is read along one track.
const STRETCH: usize = 10 * SECOND;
/// Speeds and pitches are sought within 1 +- this.
const RANGE: f64 = 0.12;
/// Steps of the grid of frequency scales to either side of 1.
const PITCH_STEPS: i32 = 6;
/// A file is called marked when chance would do so once in this many files.
const FALSE_ALARM: f64 = 1e-3;

/// How the marked sound lies in the analysed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// How many times faster the sound runs than it was made.
    pub speed: f64,
    /// By what its frequencies were multiplied.
    pub pitch: f64,
    /// The frame of the pattern that the stretch's first frame meets.
    phase: usize,
    /// Index of `pitch` in the grid.
    scale: usize,
}

/// What was found out about one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// Where it starts, in seconds.
    pub start: f64,
    /// How clearly the mark is there, in standard deviations of chance.
    pub score: f32,
    /// Whether it bears the mark (one in a thousand unmarked seconds of speech
    /// would be called so).
    pub marked: bool,
}

/// A payload that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload {
    /// The 32 bits.
    pub value: u32,
    /// The probability that all of them are right, given the key.
    pub confidence: f32,
}

/// What the detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Whether the sound bears the mark somewhere.
    pub marked: bool,
    /// One minus the probability that chance gives this much or more.
    pub confidence: f64,
    /// The clearest stretch's score, in standard deviations of chance.
    pub score: f32,
    /// The sound second by second; a shorter rest counts as one.
    pub seconds: Vec<Second>,
    /// The payload, if the sound is marked: read with the given key, or with
    /// the public one.
    pub payload: Option<Payload>,
    /// Speed and pitch of the clearest stretch, if the sound is marked.
    pub track: Option<Track>,
}

/// Looks for the mark in mono sound at 24 kHz (`decode` and `resample` bring
/// any other there) and reads the payload with `key`, or the public one.
///
/// Any sound is accepted; samples that are not finite count as silence.
pub fn detect(samples: &[f32], key: Option<&Key>) -> Detection {
    let listener = Listener::new(samples);
    let stretches = listener.stretches(STRETCH);
    let mut seconds = Vec::new();
    let mut best: Option<(f64, Found)> = None;
    let mut chips = [[0f32; UNITS]; SYMBOLS];
    let mut smallest = 1f64;
    for &(start, end) in &stretches {
        let scores = listener.correlate(start, end);
        let whole = scores.search(start, end);
        let chance = chance(whole.score - allowance(end - start));
        let pieces = split(start, end, SECOND);
        let first = seconds.len();
        for &(from, to) in &pieces {
            let own = scores.search(from, to);
            let own_chance = self::chance(own.score - allowance(to - from));
            smallest = smallest.min(own_chance * seconds_in(samples));
            seconds.push(Second {
                start: (from * HOP) as f64 / f64::from(SAMPLE_RATE),
                score: own.score,
                marked: own_chance < FALSE_ALARM,
            });
            if best.as_ref().is_none_or(|(least, _)| own_chance < *least) {
                best = Some((
                    own_chance,
                    Found {
                        stretch: (from, to),
                        ..own
                    },
                ));
            }
        }
        smallest = smallest.min(chance * stretches.len() as f64);
        if best.as_ref().is_none_or(|(least, _)| chance <= *least) {
            best = Some((chance, whole));
        }
        if chance < FALSE_ALARM {
            // With the track known nothing is searched any more, so a second
            // needs to stand out far less.
            for (second, &(from, to)) in seconds[first..].iter_mut().zip(&pieces) {
                let along = scores.along(&whole.track, start, from, to);
                second.marked |= along > ALONG_TRACK;
                second.score = second.score.max(if second.marked { along } else { 0.0 });
            }
            listener.add_chips(&whole, &mut chips);
        }
    }
    // Seconds and stretches are two chances to be wrong, unless they are one.
    let chances = if seconds.len() > 1 { 2.0 } else { 1.0 };
    let chance = (chances * smallest).min(1.0);
    conclude(&listener, key, seconds, best, chips, chance)
}

/// A second along a known track is marked above this score: 1e-3 of the
/// standard normal distribution.
const ALONG_TRACK: f32 = 3.1;

fn conclude(
    listener: &Listener,
    key: Option<&Key>,
    seconds: Vec<Second>,
    best: Option<(f64, Found)>,
    mut chips: [[f32; UNITS]; SYMBOLS],
    chance: f64,
) -> Detection {
    let marked = chance < FALSE_ALARM;
    let score = best.as_ref().map_or(0.0, |(_, found)| found.score);
    let mut payload = None;
    if let (true, Some((_, found))) = (marked, &best) {
        if chips.iter().flatten().all(|&chip| chip == 0.0) {
            listener.add_chips(found, &mut chips);
        }
        let (value, confidence) = payload::decode(key.unwrap_or(&Key::PUBLIC), &chips);
        payload = Some(Payload { value, confidence });
    }
    let track = best.filter(|_| marked).map(|(_, found)| found.track);
    Detection {
        marked,
        confidence: 1.0 - chance,
        score,
        seconds,
        payload,
        track,
    }
}

/// The best score of every window of `seconds` seconds, one after the other
/// without overlap (a rest shorter than a window is left out). This is what
/// thresholds are calibrated on.
pub fn window_scores(samples: &[f32], seconds: f64) -> Vec<f32> {
    let listener = Listener::new(samples);
    let width = ((seconds * SECOND as f64).round() as usize).clamp(1, 4 * STRETCH);
    let windows = listener.spectrogram.frames() / width;
    let score = |i: usize| {
        let (start, end) = (i * width, (i + 1) * width);
        listener.correlate(start, end).search(start, end).score
    };
    (0..windows).map(score).collect()
}

/// The probability that a stretch of unmarked speech scores `score` or more
/// somewhere in the search. The tail was fitted to human speech; it is heavier
/// than a normal one, and hardly depends on the stretch's length.
pub fn chance(score: f32) -> f64 {
    10f64
        .powf(-3.0 - f64::from(score - SCORE_AT_1E3) / DECADE)
        .min(1.0)
}

/// By how much more a stretch shorter than a second has to stand out: its few
/// units make the tail heavier (measured at 0.25 and 0.5 s of human speech).
fn allowance(frames: usize) -> f32 {
    0.26 * (SECOND as f32 / frames.max(1) as f32 - 1.0).max(0.0)
}

/// The score that one in a thousand stretches of human speech exceeds.
const SCORE_AT_1E3: f32 = 5.97;
/// The rise of the score that makes chance ten times smaller.
const DECADE: f64 = 0.65;

fn seconds_in(samples: &[f32]) -> f64 {
    (samples.len() as f64 / f64::from(SAMPLE_RATE)).max(1.0)
}

/// Cuts `start..end` into pieces of `size`; a rest under half of that joins
/// the last.
fn split(start: usize, end: usize, size: usize) -> Vec<(usize, usize)> {
    let pieces = ((end - start + size / 2) / size).max(1);
    let cut = |i: usize| if i == pieces { end } else { start + i * size };
    (0..pieces).map(|i| (cut(i), cut(i + 1))).collect()
}

/// The best place found in a stretch.
#[derive(Clone, Copy, Debug)]
struct Found {
    score: f32,
    track: Track,
    stretch: (usize, usize),
}

/// The sound as the matched filter needs it.
struct Listener {
    spectrogram: Spectrogram,
    template: &'static Template,
    /// Whitened levels, by frequency scale.
    scales: Vec<(f64, Vec<Row>)>,
}

impl Listener {
    fn new(samples: &[f32]) -> Self {
        let spectrogram = Spectrogram::new(samples);
        let scales = (-PITCH_STEPS..=PITCH_STEPS).map(|i| {
            let scale = 1.0 + RANGE * f64::from(i) / f64::from(PITCH_STEPS);
            (scale, spectrogram.whitened(scale))
        });
        Self {
            scales: scales.collect(),
            template: Template::shared(),
            spectrogram,
        }
    }

    fn stretches(&self, longest: usize) -> Vec<(usize, usize)> {
        let frames = self.spectrogram.frames();
        if frames == 0 {
            return Vec::new();
        }
        let pieces = frames.div_ceil(longest);
        (0..pieces)
            .map(|i| (i * frames / pieces, (i + 1) * frames / pieces))
            .collect()
    }

    /// Correlates each frame of a stretch with every frame of the pattern.
    fn correlate(&self, start: usize, end: usize) -> Scores {
        let tables = self.scales.iter().map(|(scale, rows)| {
            let rows = &rows[start..end];
            let mut products = vec![0f32; rows.len() * PERIOD];
            for (row, out) in rows.iter().zip(products.chunks_exact_mut(PERIOD)) {
                for (&value, template) in row.iter().zip(&self.template.bands) {
                    for (out, &t) in out.iter_mut().zip(template) {
                        *out += value * t;
                    }
                }
            }
            let chance = self.template.chance(rows);
            Table {
                scale: *scale,
                products,
                chance,
            }
        });
        Scores {
            start,
            tables: tables.collect(),
        }
    }

    /// Adds what the payload's units say along a track.
    fn add_chips(&self, found: &Found, chips: &mut [[f32; UNITS]; SYMBOLS]) {
        let rows = &self.scales[found.track.scale].1;
        let (start, end) = found.stretch;
        for (t, row) in rows[start..end].iter().enumerate() {
            let at = found.track.at(t);
            let (unit, frame) = (at / UNIT, at % UNIT);
            for pair in 0..BANDS / 2 {
                if let Some(symbol) = symbol_of(unit, pair) {
                    let shape = self.template.unit[frame];
                    let sum = row[2 * pair] * shape[0] + row[2 * pair + 1] * shape[1];
                    chips[symbol][unit] += sum;
                }
            }
        }
    }
}

impl Track {
    /// The pattern's frame that frame `t` of the stretch meets.
    fn at(&self, t: usize) -> usize {
        (self.phase + drift(self.speed, t)) % PERIOD
    }
}

fn drift(speed: f64, t: usize) -> usize {
    (speed * t as f64).round() as usize
}

/// Products of one frequency scale.
struct Table {
    scale: f64,
    /// By frame of the stretch and frame of the pattern.
    products: Vec<f32>,
    /// What a unit that starts at each frame adds to the square of a score by
    /// chance.
    chance: Vec<f32>,
}

impl Table {
    /// The standard deviation that chance gives to the sums of `from..to`, by
    /// the phase's place in a block.
    ///
    /// If the pattern's signs are random, the sum's variance is the sum of the
    /// squares of what each unit adds, in this very sound: where its levels hang
    /// together (silence that a codec made up), that is far more than in white
    /// noise. It is read from units half a block beside those in question, in
    /// which a mark cancels and only chance is left.
    fn spreads(&self, speed: f64, from: usize, to: usize) -> [f32; BLOCK] {
        let mut squares = [0f32; BLOCK];
        for (t, chance) in self.chance[from..to].iter().enumerate() {
            let place = (drift(speed, t) + BLOCK / 2) % BLOCK;
            // Phase p meets the middle of a block where p + drift is BLOCK / 2.
            squares[(BLOCK - place) % BLOCK] += 0.5 * chance;
            squares[(BLOCK + BLOCK / 2 - place) % BLOCK] += 0.5 * chance;
        }
        // Two of a unit's frames count for each unit.
        squares.map(|square| (0.5 * square + 1e-3).sqrt())
    }
}

/// Products of a stretch with the pattern.
struct Scores {
    start: usize,
    tables: Vec<Table>,
}

impl Scores {
    /// The best score in `from..to` over phases, speeds and pitches: the sound
    /// resampled (both together), its tempo changed, or its pitch.
    fn search(&self, from: usize, to: usize) -> Found {
        let middle = self.tables.len() / 2;
        // Half a step may shift the window's ends by at most 3/4 of a frame.
        let steps = (RANGE * (to - from) as f64 / 3.0).ceil().max(1.0) as i32;
        let speeds: Vec<f64> = (-steps..=steps)
            .map(|i| 1.0 + RANGE * f64::from(i) / f64::from(steps))
            .collect();
        let mut tried: Vec<(usize, f64)> = speeds.iter().map(|&speed| (middle, speed)).collect();
        for &speed in &speeds {
            // Half way between two scales either may be the right one.
            let near = (speed - 1.0) / RANGE * f64::from(PITCH_STEPS) + f64::from(PITCH_STEPS);
            let (below, above) = ((near - 0.4).round(), (near + 0.4).round());
            for scale in below as usize..=(above as usize).min(self.tables.len() - 1) {
                if scale != middle {
                    tried.push((scale, speed));
                }
            }
        }
        tried.extend(
            (0..self.tables.len())
                .filter(|&s| s != middle)
                .map(|s| (s, 1.0)),
        );
        let mut best = Found {
            score: f32::MIN,
            track: Track {
                speed: 1.0,
                pitch: 1.0,
                phase: 0,
                scale: middle,
            },
            stretch: (from, to),
        };
        let mut scores = vec![0f32; PERIOD];
        for (scale, speed) in tried {
            self.score_phases(scale, speed, from, to, &mut scores);
            let clearest = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let (phase, &score) = clearest.unwrap_or((0, &0.0));
            if score > best.score {
                let pitch = self.tables[scale].scale;
                best.score = score;
                best.track = Track {
                    speed,
                    pitch,
                    phase,
                    scale,
                };
            }
        }
        best
    }

    /// Fills `scores` with the scores of `from..to` at every phase.
    fn score_phases(&self, scale: usize, speed: f64, from: usize, to: usize, scores: &mut [f32]) {
        let table = &self.tables[scale];
        scores.fill(0.0);
        for t in from..to {
            let products = &table.products[(t - self.start) * PERIOD..][..PERIOD];
            let shift = drift(speed, t - from) % PERIOD;
            let (low, high) = products.split_at(shift);
            let (head, tail) = scores.split_at_mut(PERIOD - shift);
            for (sum, &product) in head.iter_mut().zip(high).chain(tail.iter_mut().zip(low)) {
                *sum += product;
            }
        }
        let spread = table.spreads(speed, from - self.start, to - self.start);
        for (phase, score) in scores.iter_mut().enumerate() {
            *score /= spread[phase % BLOCK];
        }
    }

    /// The score of `from..to` along a track that starts at `origin`.
    fn along(&self, track: &Track, origin: usize, from: usize, to: usize) -> f32 {
        let mut scores = vec![0f32; PERIOD];
        self.score_phases(track.scale, track.speed, from, to, &mut scores);
        scores[track.at(from - origin)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        for frames in 1..500 {
            let pieces = split(3, 3 + frames, 80);
            assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (3, 3 + frames));
            assert!(pieces.windows(2).all(|p| p[0].1 == p[1].0));
        }
    }

    #[test]
    fn less_than_a_second_has_to_stand_out_more() {
        assert_eq!(allowance(SECOND), 0.0);
        assert_eq!(allowance(10 * SECOND), 0.0);
        assert!((allowance(SECOND / 4) - 0.78).abs() < 1e-6);
        assert!(allowance(0).is_finite());
    }

    #[test]
    fn no_sound_is_not_marked() {
        assert!(!detect(&[], None).marked);
        assert!(!detect(&[0.0; 100_000], None).marked);
    }
}
