//! How fast linear layers run, beside what the machine can do.
//!
//! `cargo run --release -p sillage-kernels --example linear_speed [threads] [isa]`
//!
//! Decoding (one token) is measured in bytes of weights per second on a matrix
//! too large for the caches, next to plain reads of the same buffer size in the
//! same moment; prefill in operations per second. With one thread the time is
//! the thread's own CPU time, which other processes disturb less.

#![allow(clippy::print_stdout, clippy::expect_used)]

use sillage_kernels::{
    Buffer, Compute, FloatType, IntSpec, Isa, Linear, PackError, Product, Write, linear,
};
use std::hint::black_box;
use std::time::Instant;

const MATRIX_BYTES: usize = 100 << 20;

#[derive(Clone, Copy)]
enum Kind {
    Float(FloatType),
    Int(IntSpec),
}

const KINDS: [(&str, Kind); 9] = [
    ("f32", Kind::Float(FloatType::F32)),
    ("f16", Kind::Float(FloatType::F16)),
    ("bf16", Kind::Float(FloatType::Bf16)),
    ("q8_0", Kind::Int(IntSpec::Q8_0)),
    ("q4_0", Kind::Int(IntSpec::Q4_0)),
    ("q4_1", Kind::Int(IntSpec::Q4_1)),
    ("q4_k", Kind::Int(IntSpec::Q4_K)),
    ("q5_k", Kind::Int(IntSpec::Q5_K)),
    ("q6_k", Kind::Int(IntSpec::Q6_K)),
];

fn weight(kind: Kind, rows: usize, cols: usize) -> Linear {
    let linear: Result<Linear, PackError> = match kind {
        Kind::Float(ty) => Linear::pack_float(rows, cols, ty, |row, values| {
            values.fill((row % 7) as f32 * 0.1);
            Ok(())
        }),
        Kind::Int(spec) => Linear::pack_int(rows, cols, spec, |row, parts| {
            parts.q.fill((row % 16) as u8);
            for values in [
                parts.scales,
                parts.mins,
                parts.super_scales,
                parts.super_mins,
            ] {
                values.fill(1.0 / 128.0);
            }
            Ok(())
        }),
    };
    linear.expect("a valid shape")
}

/// CPU time of this thread, in seconds.
#[cfg(target_os = "linux")]
fn cpu_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call, which writes it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn cpu_time() -> f64 {
    f64::NAN
}

/// Seconds of the fastest and the median of `repeats` calls.
fn seconds(cx: &Compute, repeats: usize, mut call: impl FnMut()) -> (f64, f64) {
    call();
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            let (start, cpu) = (Instant::now(), cpu_time());
            call();
            let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_time() - cpu);
            if cx.pool.threads() == 1 && cpu.is_finite() {
                cpu
            } else {
                wall
            }
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[repeats / 2])
}

fn read(cx: &Compute, buffer: &Buffer<u32>) -> (f64, f64) {
    const PIECE: usize = 16 << 10;
    seconds(cx, 15, || {
        cx.pool.run(buffer.len() / PIECE, &|i| {
            let mut sums = [0u32; 64];
            for chunk in buffer[i * PIECE..][..PIECE].chunks_exact(64) {
                for (sum, v) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(*v);
                }
            }
            black_box(sums);
        });
    })
}

fn product(cx: &Compute, weight: &Linear, x: &[f32], m: usize, y: &mut [f32]) {
    let y_stride = weight.rows();
    linear(
        cx,
        x,
        m,
        &mut [Product {
            weight,
            y,
            y_stride,
            y_offset: 0,
            write: Write::Store,
        }],
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let isa = arguments
        .next()
        .and_then(|name| Isa::named(&name))
        .unwrap_or(Isa::best());
    let only = arguments.next();
    let cx = Compute::with_isa(isa, threads);
    println!("{} on {threads} threads", isa.name());
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);

    let buffer = Buffer::<u32>::from_slice(&vec![1u32; MATRIX_BYTES / 4]);
    let cols = 768;
    println!("decode      GB/s best  median | reads best  median | share of reads");
    for (name, kind) in KINDS.into_iter().filter(|(name, _)| wanted(name)) {
        let row_bytes = weight(kind, 32, cols).bytes() / 32;
        let weight = weight(kind, MATRIX_BYTES / row_bytes, cols);
        let x: Vec<f32> = (0..cols).map(|i| (i % 13) as f32 - 6.0).collect();
        let mut y = vec![0f32; weight.rows()];
        let plain = read(&cx, &buffer);
        let ours = seconds(&cx, 15, || product(&cx, &weight, &x, 1, &mut y));
        let plain_bytes = (4 * buffer.len()) as f64 / 1e9;
        let our_bytes = weight.bytes() as f64 / 1e9;
        println!(
            "{name:<5} {:14.1} {:7.1} | {:10.1} {:7.1} | {:4.0} %",
            our_bytes / ours.0,
            our_bytes / ours.1,
            plain_bytes / plain.0,
            plain_bytes / plain.1,
            100.0 * our_bytes / ours.0 / (plain_bytes / plain.0),
        );
    }

    println!("products, Gop/s best (median), by tokens");
    let shapes = [(3072, 768), (768, 1536)];
    for (rows, cols) in shapes {
        println!("{rows} x {cols}:   4 | 16 | 64 | 512");
        for (name, kind) in KINDS.into_iter().filter(|(name, _)| wanted(name)) {
            let weight = weight(kind, rows, cols);
            print!("{name:<5}");
            for m in [4, 16, 64, 512] {
                let x: Vec<f32> = (0..m * cols).map(|i| (i % 13) as f32 - 6.0).collect();
                let mut y = vec![0f32; m * rows];
                let (best, median) = seconds(&cx, if m > 100 { 7 } else { 21 }, || {
                    product(&cx, &weight, &x, m, &mut y)
                });
                let operations = (2 * m * rows * cols) as f64 / 1e9;
                print!(" {:7.0} ({:.0})", operations / best, operations / median);
            }
            println!();
        }
    }
}
