//! Linear layers against plain loops, against themselves in other company, and
//! across instruction sets.

use super::*;
use crate::Isa;
use crate::pack::{Bits, FloatType, PackError, ScaleType};
use half::{bf16, f16};

/// Every kind of weight.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Float(FloatType),
    Int(IntSpec),
}

fn kinds() -> Vec<Kind> {
    let mut all: Vec<Kind> = [FloatType::F32, FloatType::F16, FloatType::Bf16]
        .map(Kind::Float)
        .to_vec();
    all.extend(int_specs().map(Kind::Int));
    all
}

fn int_specs() -> impl Iterator<Item = IntSpec> {
    [
        IntSpec::Q8_0,
        IntSpec::Q4_0,
        IntSpec::Q4_1,
        IntSpec::Q4_K,
        IntSpec::Q5_K,
        IntSpec::Q6_K,
    ]
    .into_iter()
}

/// Numbers between -1 and 1.
fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as i32 as f32 / 2_147_483_648.0
    }
}

fn vector(seed: u32, len: usize) -> Vec<f32> {
    let mut next = numbers(seed);
    (0..len).map(|_| next()).collect()
}

fn weight(kind: Kind, rows: usize, cols: usize, seed: u32) -> Linear {
    let mut next = numbers(seed);
    let linear: Result<Linear, PackError> = match kind {
        Kind::Float(ty) => Linear::pack_float(rows, cols, ty, |_, row| {
            row.iter_mut().for_each(|v| *v = next());
            Ok(())
        }),
        Kind::Int(spec) => return IntParts::new(spec, rows, cols, seed).pack(spec, rows, cols),
    };
    linear.unwrap()
}

fn columns(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Float(_) => &[1, 7, 33, 128],
        Kind::Int(spec) if spec.scale == ScaleType::Nested => &[256, 512],
        Kind::Int(_) => &[32, 96, 256],
    }
}

fn multiply(cx: &Compute, weight: &Linear, x: &[f32], m: usize) -> Vec<f32> {
    let mut y = vec![0f32; m * weight.rows()];
    let y_stride = weight.rows();
    linear(
        cx,
        x,
        m,
        &mut [Product {
            weight,
            y: &mut y,
            y_stride,
            y_offset: 0,
            write: Write::Store,
        }],
    );
    y
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The formula of the module documentation of `int`, written plainly.
fn int_reference(spec: IntSpec, weight: &Linear, x: &[f32]) -> Vec<f32> {
    // `row` cannot give integers back, so recover them from weights of scale 1.
    let blocks: Vec<(f32, Vec<i32>)> = x
        .chunks(32)
        .map(|x| {
            let d = x.iter().fold(0f32, |most, v| most.max(v.abs())) / 127.0;
            let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
            (d, x.iter().map(|v| (v * inverse).round() as i32).collect())
        })
        .collect();
    let parts = IntParts::new(spec, weight.rows(), weight.cols(), 77);
    (0..weight.rows())
        .map(|row| {
            let mut sum = 0f32;
            for (b, (d, xq)) in blocks.iter().enumerate() {
                let halves = 32 / spec.block;
                for half in 0..halves {
                    let columns = half * spec.block..(half + 1) * spec.block;
                    let dot: i32 = columns
                        .map(|i| {
                            let q = parts.q[row * weight.cols() + b * 32 + i];
                            (i32::from(q) - i32::from(spec.zero)) * xq[i]
                        })
                        .sum();
                    let scale = parts.scales[(row * blocks.len() + b) * halves + half];
                    sum = (dot as f32).mul_add(scale * d, sum);
                }
                if spec.has_min {
                    let total: i32 = xq.iter().sum();
                    let min = parts.mins[row * blocks.len() + b];
                    sum = min.mul_add(d * total as f32, sum);
                }
            }
            sum
        })
        .collect()
}

/// Random quantised weights, kept beside their packed form.
struct IntParts {
    q: Vec<u8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
    super_scales: Vec<f32>,
    super_mins: Vec<f32>,
}

impl IntParts {
    fn new(spec: IntSpec, rows: usize, cols: usize, seed: u32) -> Self {
        let most = match spec.bits {
            Bits::Four => 15,
            Bits::Six => 63,
            Bits::Eight => 255,
        };
        let half = |v: f32| f16::from_f32(v).to_f32();
        let nested = spec.scale == ScaleType::Nested;
        let small = |seed, n, by: f32| -> Vec<f32> {
            vector(seed, n).into_iter().map(|v| half(v / by)).collect()
        };
        let supers = if nested { rows * cols / 256 } else { 0 };
        let super_scales = small(seed + 3, supers, 128.0 * f32::from(most));
        let super_mins = small(seed + 4, supers, 128.0);
        let blocks = |seed, by, supers: &[f32]| -> Vec<f32> {
            let n = rows * cols / spec.block;
            if !nested {
                return small(seed, n, by);
            }
            let bytes = vector(seed, n).into_iter().enumerate();
            bytes
                .map(|(i, v)| (v * 127.0).round() * supers[i * spec.block / 256])
                .collect()
        };
        let mut parts = Self {
            q: vector(seed, rows * cols)
                .iter()
                .map(|v| ((v + 1.0) * 128.0) as u8 & most)
                .collect(),
            scales: blocks(seed + 1, f32::from(most), &super_scales),
            mins: blocks(seed + 2, 1.0, &super_mins),
            super_scales,
            super_mins,
        };
        if !spec.has_min {
            parts.mins.clear();
            parts.super_mins.clear();
        }
        parts
    }

    fn pack(&self, spec: IntSpec, rows: usize, cols: usize) -> Linear {
        let linear: Result<Linear, PackError> = Linear::pack_int(rows, cols, spec, |row, parts| {
            fn take<T: Copy>(to: &mut [T], from: &[T], row: usize) {
                to.copy_from_slice(&from[row * to.len()..][..to.len()]);
            }
            take(parts.q, &self.q, row);
            take(parts.scales, &self.scales, row);
            take(parts.mins, &self.mins, row);
            take(parts.super_scales, &self.super_scales, row);
            take(parts.super_mins, &self.super_mins, row);
            Ok(())
        });
        linear.unwrap()
    }
}

#[test]
fn rows_come_back() {
    for (rows, cols) in [(1, 256), (35, 512)] {
        for spec in int_specs() {
            let parts = IntParts::new(spec, rows, cols, 5);
            let linear = parts.pack(spec, rows, cols);
            let mut out = vec![0f32; cols];
            for row in 0..rows {
                linear.row(row, &mut out);
                for (i, &v) in out.iter().enumerate() {
                    let block = (row * cols + i) / spec.block;
                    let q = i32::from(parts.q[row * cols + i]) - i32::from(spec.zero);
                    let min = if spec.has_min { parts.mins[block] } else { 0.0 };
                    assert_eq!(v, parts.scales[block] * q as f32 + min, "{spec:?}");
                }
            }
        }
        for ty in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            let cols = cols - 1;
            let linear = weight(Kind::Float(ty), rows, cols, 9);
            let mut next = numbers(9);
            let mut out = vec![0f32; cols];
            for row in 0..rows {
                linear.row(row, &mut out);
                for &v in &out {
                    let given = next();
                    let expected = match ty {
                        FloatType::F32 => given,
                        FloatType::F16 => f16::from_f32(given).to_f32(),
                        FloatType::Bf16 => bf16::from_f32(given).to_f32(),
                    };
                    assert_eq!(v, expected);
                }
            }
        }
    }
}

#[test]
fn close_to_the_mathematical_product() {
    let cx = Compute::new(2);
    for kind in kinds() {
        for &cols in columns(kind) {
            for (rows, m) in [(1, 1), (16, 3), (33, 2), (70, 13)] {
                let weight = weight(kind, rows, cols, 3);
                let x = vector(4, m * cols);
                let y = multiply(&cx, &weight, &x, m);
                let mut w = vec![0f32; cols];
                for row in 0..rows {
                    weight.row(row, &mut w);
                    for t in 0..m {
                        let x = &x[t * cols..][..cols];
                        let products = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                        let (sum, size) =
                            products.fold((0.0, 0.0), |(s, a), p| (s + p, a + p.abs()));
                        let relative = match kind {
                            Kind::Float(_) => 1e-6,
                            Kind::Int(_) => 0.0,
                        };
                        // Half a step of the activations' quantisation a weight.
                        let steps: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
                        let absolute = if matches!(kind, Kind::Int(_)) {
                            steps / 254.0
                        } else {
                            0.0
                        };
                        let error = (f64::from(y[t * rows + row]) - sum).abs();
                        assert!(
                            error <= relative * size + absolute + 1e-5,
                            "{kind:?} {rows}x{cols}: {error}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn integer_formula_is_exact_on_every_path() {
    for isa in Isa::available() {
        let cx = Compute::with_isa(isa, 2);
        for spec in int_specs() {
            for (rows, cols, m) in [(1, 256, 1), (40, 512, 5), (64, 1024, 20)] {
                let weight = IntParts::new(spec, rows, cols, 77).pack(spec, rows, cols);
                let x = vector(11, m * cols);
                let y = multiply(&cx, &weight, &x, m);
                for t in 0..m {
                    let expected = int_reference(spec, &weight, &x[t * cols..][..cols]);
                    assert!(
                        same_bits(&y[t * rows..][..rows], &expected),
                        "{spec:?} {isa:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn ties_round_away_from_zero() {
    // The largest is 127, so the scale is 1 and halves stay halves.
    let mut x = vec![0f32; 32];
    x[..8].copy_from_slice(&[127.0, 0.5, 1.5, 2.5, -0.5, -2.5, 0.499_999_97, -126.5]);
    let spec = IntSpec::Q8_0;
    for isa in Isa::available() {
        let cx = Compute::with_isa(isa, 1);
        let linear: Result<Linear, PackError> = Linear::pack_int(32, 32, spec, |row, parts| {
            parts.q.fill(128);
            parts.q[row] = 129;
            parts.scales.fill(1.0);
            Ok(())
        });
        let y = multiply(&cx, &linear.unwrap(), &x, 1);
        assert_eq!(
            y[..8],
            [127.0, 1.0, 2.0, 3.0, -1.0, -3.0, 0.0, -127.0],
            "{isa:?}"
        );
    }
}

#[test]
fn company_changes_nothing() {
    for kind in kinds() {
        for &cols in columns(kind) {
            for rows in [1, 33, 200] {
                let weight = weight(kind, rows, cols, 21)
                    .with_bias(vector(22, rows))
                    .unwrap();
                let m = 31;
                let x = vector(23, m * cols);
                let alone = Compute::new(1);
                let expected: Vec<f32> = x
                    .chunks(cols)
                    .flat_map(|x| multiply(&alone, &weight, x, 1))
                    .collect();
                for threads in [1, 2, 5] {
                    let cx = Compute::new(threads);
                    for (start, end) in [(0, m), (1, m), (0, 2), (3, 8), (5, 16), (7, 14), (0, 1)] {
                        let x = &x[start * cols..end * cols];
                        let y = multiply(&cx, &weight, x, end - start);
                        assert!(
                            same_bits(&y, &expected[start * rows..end * rows]),
                            "{kind:?} {rows}x{cols}, tokens {start}..{end}, {threads} threads"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn large_batches_change_nothing() {
    // Long enough to be cut into chunks of tokens and pieces of preparation.
    for kind in kinds() {
        let (rows, cols, m) = (96, 1536, 403);
        let weight = weight(kind, rows, cols, 31);
        let x = vector(32, m * cols);
        let one = multiply(&Compute::new(1), &weight, &x, m);
        for threads in [2, 5] {
            assert!(
                same_bits(&one, &multiply(&Compute::new(threads), &weight, &x, m)),
                "{kind:?}"
            );
        }
        let cx = Compute::new(2);
        for t in [0, 100, 255, 256, 402] {
            let y = multiply(&cx, &weight, &x[t * cols..][..cols], 1);
            assert!(
                same_bits(&y, &one[t * rows..][..rows]),
                "{kind:?} token {t}"
            );
        }
    }
}

#[test]
fn paths_agree() {
    for kind in kinds() {
        for &cols in columns(kind) {
            let (rows, m) = (50, 17);
            let weight = weight(kind, rows, cols, 41);
            let x = vector(42, m * cols);
            let scalar = multiply(&Compute::with_isa(Isa::available()[0], 1), &weight, &x, m);
            for isa in Isa::available() {
                let y = multiply(&Compute::with_isa(isa, 2), &weight, &x, m);
                assert!(same_bits(&y, &scalar), "{kind:?} on {isa:?}");
            }
        }
    }
}

#[test]
fn products_write_where_they_are_told() {
    let cx = Compute::new(2);
    let (m, cols) = (9, 256);
    let x = vector(51, m * cols);
    let weights: Vec<Linear> = kinds()
        .into_iter()
        .zip(1..)
        .map(|(kind, i)| weight(kind, 13 * i, cols, 52))
        .collect();
    let stride = 300;
    let mut outputs: Vec<Vec<f32>> = weights.iter().map(|_| vector(53, m * stride)).collect();
    let before = outputs[0].clone();
    let mut products: Vec<Product<'_>> = weights
        .iter()
        .zip(&mut outputs)
        .enumerate()
        .map(|(i, (weight, y))| {
            let write = if i % 2 == 0 {
                Write::Add(0.25)
            } else {
                Write::Store
            };
            Product {
                weight,
                y,
                y_stride: stride,
                y_offset: 7 * i,
                write,
            }
        })
        .collect();
    linear(&cx, &x, m, &mut products);
    for (i, (weight, y)) in weights.iter().zip(&outputs).enumerate() {
        let expected = multiply(&cx, weight, &x, m);
        for t in 0..m {
            for column in 0..stride {
                let (found, old) = (y[t * stride + column], before[t * stride + column]);
                let row = column.wrapping_sub(7 * i);
                let wanted = match expected[t * weight.rows()..].get(row) {
                    Some(v) if row < weight.rows() && i % 2 == 0 => 0.25f32.mul_add(*v, old),
                    Some(v) if row < weight.rows() => *v,
                    _ => old,
                };
                assert_eq!(
                    found.to_bits(),
                    wanted.to_bits(),
                    "product {i} at {t}, {column}"
                );
            }
        }
    }
}

#[test]
fn more_forms_than_one_region_takes() {
    let cx = Compute::new(2);
    let weights: Vec<Linear> = (0..20)
        .map(|zero| {
            let spec = IntSpec {
                zero,
                ..IntSpec::Q8_0
            };
            IntParts::new(spec, 8, 32, 60).pack(spec, 8, 32)
        })
        .collect();
    let x = vector(61, 32);
    let mut outputs = vec![vec![0f32; 8]; weights.len()];
    let mut products: Vec<Product<'_>> = weights
        .iter()
        .zip(&mut outputs)
        .map(|(weight, y)| Product {
            weight,
            y,
            y_stride: 8,
            y_offset: 0,
            write: Write::Store,
        })
        .collect();
    linear(&cx, &x, 1, &mut products);
    for (weight, y) in weights.iter().zip(&outputs) {
        assert!(same_bits(y, &multiply(&cx, weight, &x, 1)));
    }
}

#[test]
fn strange_numbers_stay_with_their_token() {
    for kind in kinds() {
        for isa in Isa::available() {
            let cx = Compute::with_isa(isa, 2);
            let (rows, cols, m) = (20, 256, 7);
            let weight = weight(kind, rows, cols, 71);
            let clean = vector(72, m * cols);
            let expected = multiply(&cx, &weight, &clean, m);
            for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-44] {
                let mut x = clean.clone();
                x[2 * cols..3 * cols].fill(1e-44);
                x[2 * cols + 5] = strange;
                let y = multiply(&cx, &weight, &x, m);
                for t in 0..m {
                    let row = &y[t * rows..][..rows];
                    if t == 2 {
                        assert_eq!(row.iter().all(|v| v.is_finite()), strange.is_finite());
                    } else {
                        assert!(
                            same_bits(row, &expected[t * rows..][..rows]),
                            "{kind:?} {isa:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn impossible_weights_are_refused() {
    let float =
        |rows, cols| Linear::pack_float::<PackError>(rows, cols, FloatType::F32, |_, _| Ok(()));
    let int = |rows, cols, spec| Linear::pack_int::<PackError>(rows, cols, spec, |_, _| Ok(()));
    assert_eq!(
        float(0, 4).unwrap_err(),
        PackError::Empty { rows: 0, cols: 4 }
    );
    assert!(matches!(
        float(1 << 40, 1 << 40).unwrap_err(),
        PackError::TooLarge { .. }
    ));
    assert!(matches!(
        float(1, usize::MAX).unwrap_err(),
        PackError::TooLarge { .. }
    ));
    let error = int(4, 40, IntSpec::Q8_0).unwrap_err();
    assert_eq!(
        error,
        PackError::Columns {
            cols: 40,
            block: 32
        }
    );
    assert!(error.to_string().contains("multiple"));
    for spec in [
        IntSpec {
            block: 64,
            ..IntSpec::Q8_0
        },
        IntSpec {
            block: 0,
            ..IntSpec::Q8_0
        },
        IntSpec {
            has_min: true,
            ..IntSpec::Q6_K
        },
        IntSpec {
            bits: Bits::Eight,
            scale: ScaleType::F16,
            ..IntSpec::Q4_1
        },
    ] {
        assert_eq!(int(4, 256, spec).unwrap_err(), PackError::Unsupported(spec));
    }
    let error = int(4, 128, IntSpec::Q4_K).unwrap_err();
    assert_eq!(
        error,
        PackError::Columns {
            cols: 128,
            block: 256
        }
    );
    for scale in [0.3, 128.0, f32::NAN, f32::INFINITY] {
        let uneven = Linear::pack_int(4, 512, IntSpec::Q6_K, |row, parts| {
            parts.super_scales.fill(1.0);
            parts.scales.fill(-128.0);
            if row == 3 {
                parts.scales[17] = scale;
            }
            Ok::<(), PackError>(())
        });
        assert_eq!(uneven.unwrap_err(), PackError::Scale { row: 3, block: 17 });
    }
    let bias = float(4, 4).unwrap().with_bias(vec![0.0; 3]).unwrap_err();
    assert_eq!(bias, PackError::Bias { rows: 4, found: 3 });
}

#[test]
fn errors_of_the_source_pass_through() {
    #[derive(Debug, PartialEq)]
    struct Broken(usize);
    impl From<PackError> for Broken {
        fn from(_: PackError) -> Self {
            Self(usize::MAX)
        }
    }
    let fill = |row, _: &mut [f32]| if row == 2 { Err(Broken(row)) } else { Ok(()) };
    assert_eq!(
        Linear::pack_float(5, 4, FloatType::F16, fill).unwrap_err(),
        Broken(2)
    );
}
