//! Words that no dictionary knows: a small network that reads letters and writes phonemes,
//! trained by `recipes/text/train_letters.py`.
//!
//! Two bidirectional GRU layers read the word; a third GRU writes one chunk of phonemes (often a
//! single one, sometimes none) for each letter, knowing what it wrote before. The time is
//! proportional to the number of letters, the memory bounded: longer words are read in pieces.

use crate::{Accent, TextError};

static MODEL: &[u8] = include_bytes!("../data/letters.bin");

/// The letters the network knows, in the order of its embedding from one on.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz'";

/// Longer words are read in pieces of this many letters.
const LONGEST: usize = 32;

/// Weights of one linear map, by columns, so that a product is a sum of scaled columns.
#[derive(Debug)]
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

#[derive(Debug)]
struct Gru {
    input: Matrix,
    state: Matrix,
    input_bias: Vec<f32>,
    state_bias: Vec<f32>,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Letters {
    chunks: Vec<String>,
    letter: Matrix,
    accent: Matrix,
    encoder: [[Gru; 2]; 2],
    previous: Matrix,
    decoder: Gru,
    out: Matrix,
    out_bias: Vec<f32>,
}

impl Letters {
    pub(crate) fn load() -> Result<Self, TextError> {
        Self::parse(MODEL).ok_or(TextError::Table("letters"))
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let end = raw.iter().position(|&byte| byte == b'\n')?;
        let chunks: Vec<String> = std::str::from_utf8(&raw[..end])
            .ok()?
            .split('\t')
            .map(str::to_owned)
            .collect();
        let mut raw = &raw[end + 1..];
        let raw = &mut raw;
        let model = Self {
            letter: Matrix::parse(raw)?.turned(),
            accent: Matrix::parse(raw)?.turned(),
            encoder: [
                [Gru::parse(raw)?, Gru::parse(raw)?],
                [Gru::parse(raw)?, Gru::parse(raw)?],
            ],
            previous: Matrix::parse(raw)?.turned(),
            decoder: Gru::parse(raw)?,
            out: Matrix::parse(raw)?,
            out_bias: Matrix::parse(raw)?.values,
            chunks,
        };
        model.fits().then_some(model)
    }

    /// Whether every size agrees with its neighbours, so that reading cannot go out of bounds.
    fn fits(&self) -> bool {
        let [[a, b], [c, d]] = &self.encoder;
        let width = a.size();
        let letters = self.letter.rows;
        self.letter.columns == LETTERS.len() + 1
            && self.accent.columns == 2
            && self.accent.rows == letters
            && [a, b].iter().all(|gru| gru.fits(letters, width))
            && [c, d].iter().all(|gru| gru.fits(2 * width, width))
            && self
                .decoder
                .fits(2 * width + self.previous.rows, self.decoder.size())
            && self.previous.columns == self.chunks.len() + 1
            && self.out.columns == self.decoder.size()
            && self.out.rows == self.chunks.len()
            && self.out_bias.len() == self.chunks.len()
    }

    /// The phonemes of a word; characters that are not letters of English are passed over.
    pub(crate) fn read(&self, word: &str, accent: Accent) -> String {
        let codes: Vec<usize> = word
            .chars()
            .flat_map(char::to_lowercase)
            .filter_map(|c| LETTERS.find(c).map(|at| at + 1))
            .collect();
        codes
            .chunks(LONGEST)
            .map(|piece| self.piece(piece, accent))
            .collect()
    }

    fn piece(&self, codes: &[usize], accent: Accent) -> String {
        let accent = self.accent.column(usize::from(accent == Accent::Gb));
        let mut rows: Vec<Vec<f32>> = codes
            .iter()
            .map(|&code| {
                self.letter
                    .column(code)
                    .iter()
                    .zip(accent)
                    .map(|(a, b)| a + b)
                    .collect()
            })
            .collect();
        for [forward, backward] in &self.encoder {
            let ahead = forward.run(rows.iter());
            let back = backward.run(rows.iter().rev());
            rows = ahead
                .into_iter()
                .zip(back.into_iter().rev())
                .map(|(a, b)| [a, b].concat())
                .collect();
        }
        let mut state = vec![0.0; self.decoder.size()];
        let mut last = self.chunks.len();
        let mut spoken = String::new();
        for row in &mut rows {
            row.extend_from_slice(self.previous.column(last));
            self.decoder.step(row, &mut state);
            let mut scores = self.out_bias.clone();
            self.out.add_product(&state, &mut scores);
            last = 0;
            for (at, &score) in scores.iter().enumerate() {
                if score > scores[last] {
                    last = at;
                }
            }
            spoken.push_str(&self.chunks[last]);
        }
        spoken
    }
}

impl Matrix {
    /// Rows of int8 with a scale each.
    fn parse(raw: &mut &[u8]) -> Option<Self> {
        let (head, rest) = raw.split_at_checked(4)?;
        let rows = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let columns = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (scales, rest) = rest.split_at_checked(rows * 4)?;
        let (ints, rest) = rest.split_at_checked(rows * columns)?;
        *raw = rest;
        let mut values = vec![0.0; rows * columns];
        for row in 0..rows {
            let at = row * 4;
            let scale =
                f32::from_le_bytes([scales[at], scales[at + 1], scales[at + 2], scales[at + 3]]);
            for column in 0..columns {
                values[column * rows + row] =
                    f32::from(i8::from_le_bytes([ints[row * columns + column]])) * scale;
            }
        }
        Some(Self {
            rows,
            columns,
            values,
        })
    }

    fn column(&self, at: usize) -> &[f32] {
        &self.values[at * self.rows..(at + 1) * self.rows]
    }

    /// Adds the product, four columns at a time so that the sums stay in registers.
    fn add_product(&self, input: &[f32], out: &mut [f32]) {
        let rows = self.rows;
        let mut fours = input.chunks_exact(4);
        let mut columns = self.values.chunks_exact(4 * rows);
        for (x, four) in fours.by_ref().zip(columns.by_ref()) {
            let (a, rest) = four.split_at(rows);
            let (b, rest) = rest.split_at(rows);
            let (c, d) = rest.split_at(rows);
            for ((((y, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y += x[0] * a + x[1] * b + x[2] * c + x[3] * d;
            }
        }
        for (&x, column) in fours
            .remainder()
            .iter()
            .zip(columns.remainder().chunks_exact(rows))
        {
            for (y, &w) in out.iter_mut().zip(column) {
                *y += x * w;
            }
        }
    }

    /// Rows and columns exchanged: embeddings are stored with a row for each entry.
    fn turned(self) -> Self {
        let mut values = vec![0.0; self.values.len()];
        for row in 0..self.rows {
            for column in 0..self.columns {
                values[row * self.columns + column] = self.values[column * self.rows + row];
            }
        }
        Self {
            rows: self.columns,
            columns: self.rows,
            values,
        }
    }
}

impl Gru {
    fn parse(raw: &mut &[u8]) -> Option<Self> {
        Some(Self {
            input: Matrix::parse(raw)?,
            state: Matrix::parse(raw)?,
            input_bias: Matrix::parse(raw)?.values,
            state_bias: Matrix::parse(raw)?.values,
        })
    }

    fn size(&self) -> usize {
        self.state.columns
    }

    fn fits(&self, input: usize, size: usize) -> bool {
        self.input.columns == input
            && self.state.columns == size
            && [
                self.input.rows,
                self.state.rows,
                self.input_bias.len(),
                self.state_bias.len(),
            ] == [3 * size; 4]
    }

    fn run<'a>(&self, rows: impl Iterator<Item = &'a Vec<f32>>) -> Vec<Vec<f32>> {
        let mut state = vec![0.0; self.size()];
        rows.map(|row| {
            self.step(row, &mut state);
            state.clone()
        })
        .collect()
    }

    fn step(&self, input: &[f32], state: &mut [f32]) {
        let mut from_input = self.input_bias.clone();
        self.input.add_product(input, &mut from_input);
        let mut from_state = self.state_bias.clone();
        self.state.add_product(state, &mut from_state);
        let size = state.len();
        for (i, value) in state.iter_mut().enumerate() {
            let reset = sigmoid(from_input[i] + from_state[i]);
            let update = sigmoid(from_input[size + i] + from_state[size + i]);
            let new = tanh(from_input[2 * size + i] + reset * from_state[2 * size + i]);
            *value = new + update * (*value - new);
        }
    }
}

/// e^x in plain arithmetic, so that every machine reads a word the same way.
fn exp(x: f32) -> f32 {
    let scaled = x.clamp(-80.0, 80.0) * std::f32::consts::LOG2_E;
    let whole = scaled.floor();
    let part = (scaled - whole) * std::f32::consts::LN_2;
    let series = 1.0
        + part
            * (1.0
                + part * (0.5 + part * (1.0 / 6.0 + part * (1.0 / 24.0 + part * (1.0 / 120.0)))));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    series * power
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}
