//! Every instruction set against plain Rust, lane by lane.

use super::*;
use half::{bf16, f16};

/// What a [`Simd`] makes of one set of inputs, as bits.
struct Probe<'a> {
    a: &'a [f32; LANES],
    b: &'a [f32; LANES],
    bytes: &'a [u8; 64],
    x: i32,
}

impl Kernel for Probe<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Vec<u32>> {
        let show = |v: S::F| s.to_array(v).map(f32::to_bits).to_vec();
        let show_int = |v: S::I| show(s.from_bits(v));
        // SAFETY: all pointers are to arrays of the needed length.
        unsafe {
            let (a, b) = (s.load(self.a.as_ptr()), s.load(self.b.as_ptr()));
            let w = s.load_bytes(self.bytes.as_ptr());
            let half: [u16; LANES] = self.a.map(|v| f16::from_f32(v).to_bits());
            let brain: [u16; LANES] = self.a.map(|v| bf16::from_f32(v).to_bits());
            let mut stored = [0u16; LANES];
            s.store_bf16(stored.as_mut_ptr(), a);
            let zero = s.int(7);
            let mut all = vec![
                show(s.add(a, b)),
                show(s.sub(a, b)),
                show(s.mul(a, b)),
                show(s.div(a, b)),
                show(s.fma(a, b, a)),
                show(s.fnma(a, b, a)),
                show(s.max(a, b)),
                show(s.min(a, b)),
                show(s.abs(a)),
                show(s.round(a)),
                show(s.select_gt(a, b, b, a)),
                show(s.round_bf16(a)),
                show(s.load_f16(half.as_ptr())),
                show(s.load_bf16(brain.as_ptr())),
                stored.map(u32::from).to_vec(),
                show(s.join_upper(a, b)),
                vec![s.sum(a).to_bits(), s.largest(a).to_bits()],
                show_int(s.to_int(a)),
                show(s.to_float(s.bits(a))),
                show_int(s.int_add(s.bits(a), s.bits(b))),
                show_int(s.int_sub(s.bits(a), s.bits(b))),
                show_int(s.int_mul(s.bits(a), s.bits(b))),
                show_int(s.int_and(s.bits(a), s.bits(b))),
                show_int(s.int_or(s.bits(a), s.bits(b))),
                show_int(s.int_shl::<3>(s.bits(a))),
                show_int(s.int_shr::<9>(s.bits(a))),
                show_int(s.dot4(zero, w, self.x)),
                show_int(s.dot4_small(zero, s.low_nibbles(w), self.x)),
                show_int(s.dot4_small(zero, s.high_nibbles(w), self.x)),
            ];
            all.push(show_int(s.max_int(s.bits(a), s.bits(b))));
            all.push(vec![s.largest_int(s.bits(a)) as u32]);
            let mut narrow = [0u8; LANES];
            s.store_bytes(narrow.as_mut_ptr(), s.bits(a));
            all.push(narrow.map(u32::from).to_vec());
            all.push(show_int(s.load_i8(self.bytes.as_ptr().cast())));
            let low = s.low_nibbles(w);
            for joined in [
                s.join_pair::<0>(low, w),
                s.join_pair::<1>(low, w),
                s.join_pair::<2>(low, w),
                s.join_pair::<3>(low, w),
            ] {
                let mut bytes = [0u8; 64];
                s.store_block(bytes.as_mut_ptr(), joined);
                all.push(bytes.map(u32::from).to_vec());
            }
            for n in [0, 1, 5, 16] {
                let mut out = [9f32; LANES];
                s.store_first(out.as_mut_ptr(), s.load_first(self.a.as_ptr(), n), n);
                all.push(out.map(f32::to_bits).to_vec());
            }
            all
        }
    }
}

fn numbers(seed: u32) -> impl Iterator<Item = u32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
}

#[test]
fn all_paths_agree_bit_for_bit() {
    for seed in 1..200 {
        let mut random = numbers(seed);
        let mut float = || (random.next().unwrap_or(0) as i32 as f32) / 40_000_000.0;
        let a: [f32; LANES] = std::array::from_fn(|_| float());
        let b: [f32; LANES] = std::array::from_fn(|_| float());
        let bytes: [u8; 64] = std::array::from_fn(|i| (seed as usize * 37 + i * 101) as u8);
        let x = numbers(seed + 1000).next().unwrap_or(0) as i32;
        let expected = Probe {
            a: &a,
            b: &b,
            bytes: &bytes,
            x,
        }
        .run(Scalar);
        for isa in Isa::available() {
            let found = isa.dispatch(Probe {
                a: &a,
                b: &b,
                bytes: &bytes,
                x,
            });
            assert_eq!(found, expected, "{} differs from scalar", isa.name());
        }
    }
}

#[test]
fn names_lead_back() {
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()).map(Isa::name), Some(isa.name()));
    }
    assert!(Isa::named("abacus").is_none());
}
