//! Measures the kernels that are not matrix products, beside what memory can do.
//!
//! `cargo run --release -p sillage-kernels --example recurrences -- [threads] [isa]`
//!
//! Sizes are those of mamba2-130m, mamba-130m and SmolLM2-135M.

use sillage_kernels::{
    AttendSegment, AttendShape, Buffer, Compute, Conv, ConvSegment, GatedNorm, Isa, KvShape, PAGE,
    PageRef, ScanSegment, SelectiveShape, SsdShape, StateMut, attend, causal_conv, rms_norm_gated,
    selective_scan, softplus_dt, ssd,
};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The shortest of `rounds` calls, in seconds, after one to warm up: other
/// processes can only add time.
fn time(rounds: usize, mut work: impl FnMut()) -> f64 {
    work();
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

fn numbers(len: usize) -> Buffer<f32> {
    let mut buffer = Buffer::zeroed(len);
    let mut state = 1u32;
    for v in buffer.iter_mut() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *v = state as f32 / u32::MAX as f32 - 0.5;
    }
    buffer
}

/// Bytes per second that all threads read together from 512 MiB.
fn bandwidth(cx: &Compute) -> f64 {
    let data = Buffer::<u32>::from_slice(&vec![1; 128 << 20]);
    let total = AtomicU64::new(0);
    let piece = 1 << 16;
    let seconds = time(5, || {
        cx.pool.run(data.len() / piece, &|i| {
            let mut sums = [0u32; 64];
            for part in data[i * piece..][..piece].chunks_exact(64) {
                for (sum, v) in sums.iter_mut().zip(part) {
                    *sum ^= v;
                }
            }
            let sum = sums.iter().fold(0, |a, b| a ^ b);
            total.fetch_add(u64::from(sum), Ordering::Relaxed);
        });
    });
    black_box(total);
    data.len() as f64 * 4.0 / seconds
}

/// States of one layer per entry, so that a step finds none in the caches it
/// would not find in a model.
struct Layers {
    f32: Vec<Buffer<f32>>,
    bf16: Vec<Buffer<u16>>,
}

impl Layers {
    fn new(len: usize, bf16: bool, count: usize) -> Self {
        if bf16 {
            Self {
                f32: Vec::new(),
                bf16: vec![Buffer::zeroed(len); count],
            }
        } else {
            Self {
                f32: vec![Buffer::zeroed(len); count],
                bf16: Vec::new(),
            }
        }
    }

    fn iter(&mut self) -> impl Iterator<Item = StateMut<'_>> {
        let wide = self.f32.iter_mut().map(|s| StateMut::F32(s));
        wide.chain(self.bf16.iter_mut().map(|s| StateMut::Bf16(s)))
    }
}

/// Layers whose states a step walks through.
const LAYERS: usize = 24;

fn measure_ssd(cx: &Compute, tokens: usize, batch: usize, bf16: bool) {
    let shape = SsdShape {
        heads: 24,
        headdim: 64,
        d_state: 128,
        groups: 1,
    };
    let inner = shape.heads * shape.headdim;
    let m = tokens * batch;
    let (xbc, dt) = (numbers(m * (inner + 256)), numbers(m * shape.heads));
    let dt: Vec<f32> = dt.iter().map(|v| v + 0.51).collect();
    let (a, d) = (vec![-1.0; shape.heads], vec![1.0; shape.heads]);
    let mut y = Buffer::zeroed(m * inner);
    let mut layers = Layers::new(shape.state_len(), bf16, LAYERS * batch);
    let rounds = if tokens > 1 { 9 } else { 201 };
    let seconds = time(rounds, || {
        let mut states = layers.iter();
        for _ in 0..LAYERS {
            let mut segments: Vec<_> = states
                .by_ref()
                .take(batch)
                .enumerate()
                .map(|(i, state)| ScanSegment {
                    tokens: i * tokens..(i + 1) * tokens,
                    state,
                })
                .collect();
            ssd(cx, &shape, &xbc, &dt, &a, Some(&d), &mut segments, &mut y);
        }
    });
    let bytes = (shape.state_len() * batch * LAYERS) as f64 * if bf16 { 2.0 } else { 4.0 };
    let tiles = (shape.state_len() / 256 * LAYERS * m) as f64;
    println!(
        "ssd       {:5} tokens x {batch:2}  {}  {:9.1} us/token  {:6.2} ns/tile  state read {:5.1} GB/s and written",
        tokens,
        if bf16 { "bf16" } else { "f32 " },
        seconds / m as f64 * 1e6,
        seconds / tiles * 1e9,
        bytes / seconds / 1e9,
    );
}

fn measure_selective(cx: &Compute, tokens: usize, bf16: bool) {
    let shape = SelectiveShape {
        d_inner: 1536,
        d_state: 16,
    };
    let x = numbers(tokens * shape.d_inner);
    let dt: Vec<f32> = x.iter().map(|v| v + 0.51).collect();
    let (bc, d) = (numbers(tokens * 80), vec![1.0; shape.d_inner]);
    let a = vec![-1.0; shape.d_inner * shape.d_state];
    let mut y = Buffer::zeroed(tokens * shape.d_inner);
    let mut layers = Layers::new(shape.state_len(), bf16, LAYERS);
    let seconds = time(if tokens > 1 { 9 } else { 201 }, || {
        for state in layers.iter() {
            let mut segments = [ScanSegment {
                tokens: 0..tokens,
                state,
            }];
            let (b, c) = (&bc[48..], &bc[64..]);
            selective_scan(cx, &shape, &x, &dt, &a, b, c, 80, &d, &mut segments, &mut y);
        }
    });
    println!(
        "selective {tokens:5} tokens       {}  {:9.1} us/token  {:6.2} ns/exp vector",
        if bf16 { "bf16" } else { "f32 " },
        seconds / tokens as f64 * 1e6,
        seconds / (tokens * LAYERS * shape.state_len() / 16) as f64 * 1e9,
    );
}

fn measure_attention(cx: &Compute, tokens: usize, depth: usize, bf16: bool) {
    let kv = KvShape {
        kv_heads: 3,
        head_dim: 64,
    };
    let shape = AttendShape {
        heads: 9,
        kv,
        scale: 0.125,
        window: None,
        softcap: None,
    };
    let q = numbers(tokens * 9 * 64);
    let mut out = Buffer::zeroed(q.len());
    let count = (depth + tokens).div_ceil(PAGE);
    let layers = if depth > 0 { 10 } else { 30 };
    let wide: Vec<Buffer<f32>> = if bf16 {
        Vec::new()
    } else {
        vec![numbers(kv.page_len()); count * layers]
    };
    let narrow: Vec<Buffer<u16>> = if bf16 {
        vec![Buffer::zeroed(kv.page_len()); count * layers]
    } else {
        Vec::new()
    };
    let pages: Vec<PageRef<'_>> = (wide.iter().map(|p| PageRef::F32(p)))
        .chain(narrow.iter().map(|p| PageRef::Bf16(p)))
        .collect();
    let seconds = time(if depth > 0 { 15 } else { 25 }, || {
        for pages in pages.chunks(count) {
            let segment = AttendSegment {
                tokens: 0..tokens,
                start: depth,
                first_page: 0,
                pages: pages.to_vec(),
            };
            attend(cx, &shape, &q, &[segment], &mut out);
        }
    }) / layers as f64;
    let bytes = (count * kv.page_len()) as f64 * if bf16 { 2.0 } else { 4.0 };
    let pairs = (tokens * (2 * depth + tokens) / 2 * 9) as f64;
    println!(
        "attention {tokens:5} tokens at {depth:5} {}  {:9.1} us/token (30 layers)  {:5.1} GFLOP/s  keys and values read {:5.1} GB/s",
        if bf16 { "bf16" } else { "f32 " },
        seconds * 30.0 / tokens as f64 * 1e6,
        pairs * 4.0 * 64.0 / seconds / 1e9,
        bytes / seconds / 1e9,
    );
}

fn measure_rest(cx: &Compute, m: usize) {
    let (channels, inner) = (1792, 1536);
    let (x, z) = (numbers(m * channels), numbers(m * inner));
    let (weight, bias) = (numbers(4 * channels), numbers(channels));
    let conv = Conv {
        weight: &weight,
        bias: Some(&bias),
        d_conv: 4,
        channels,
        silu: true,
    };
    let (mut state, mut out) = (numbers(3 * channels), Buffer::zeroed(m * channels));
    let rounds = if m > 1 { 21 } else { 1001 };
    let conv_time = time(rounds, || {
        let mut segments = [ConvSegment {
            tokens: 0..m,
            state: &mut state,
        }];
        causal_conv(cx, &conv, &x, channels, 0, &mut segments, &mut out);
    });
    let norm = GatedNorm {
        weight: &bias,
        eps: 1e-5,
        group: inner,
        norm_before_gate: false,
    };
    let norm_time = time(rounds, || {
        rms_norm_gated(cx, &x, &z, inner, 0, m, inner, Some(&norm), &mut out);
    });
    let mut dt = numbers(m * inner);
    let dt_time = time(rounds, || softplus_dt(cx, &mut dt, inner, None, 0.0, 100.0));
    let each = |seconds: f64| seconds / m as f64 * LAYERS as f64 * 1e6;
    println!(
        "per token, {LAYERS} layers, {m:4} at a time: conv {:.1} us, gated norm {:.1} us, softplus of dt (Mamba-1) {:.1} us",
        each(conv_time),
        each(norm_time),
        each(dt_time),
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = args.next().and_then(|a| a.parse().ok()).unwrap_or(2);
    let isa = args
        .next()
        .and_then(|name| Isa::named(&name))
        .unwrap_or_else(Isa::best);
    let cx = Compute::with_isa(isa, threads);
    println!(
        "{} on {threads} threads; memory reads {:.1} GB/s",
        isa.name(),
        bandwidth(&cx) / 1e9
    );
    for bf16 in [false, true] {
        measure_ssd(&cx, 64, 1, bf16);
        measure_ssd(&cx, 1, 1, bf16);
        measure_ssd(&cx, 1, 16, bf16);
        measure_selective(&cx, 64, bf16);
        measure_selective(&cx, 1, bf16);
        for (tokens, depth) in [(512, 0), (1, 0), (1, 4096), (1, 16_384), (64, 16_384)] {
            measure_attention(&cx, tokens, depth, bf16);
        }
    }
    for m in [1, 16, 512] {
        measure_rest(&cx, m);
    }
}
