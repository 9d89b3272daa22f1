use super::*;
use crate::testing::{assert_close, bits, computes, everywhere, random};

/// A session's cache, of either kind, filled with `len` positions.
struct Cache {
    shape: KvShape,
    f32: Vec<Vec<f32>>,
    bf16: Vec<Vec<u16>>,
    first_page: usize,
}

impl Cache {
    /// Slots that nothing was written to hold `junk`.
    fn new(shape: KvShape, is_bf16: bool, k: &[f32], v: &[f32], junk: f32) -> Self {
        let width = shape.kv_heads * shape.head_dim;
        let len = k.len() / width;
        let (mut f32, mut bf16) = (Vec::new(), Vec::new());
        for page in 0..len.div_ceil(PAGE) {
            let mut wide = vec![0.0; shape.page_len()];
            let mut narrow = vec![0; shape.page_len()];
            for slot in 0..PAGE {
                let at = (page * PAGE + slot) * width;
                let filler = vec![junk; width];
                let (k, v) = if page * PAGE + slot < len {
                    (&k[at..][..width], &v[at..][..width])
                } else {
                    (&filler[..], &filler[..])
                };
                write_kv(&shape, PageMut::F32(&mut wide), slot, k, v);
                write_kv(&shape, PageMut::Bf16(&mut narrow), slot, k, v);
            }
            if is_bf16 {
                bf16.push(narrow)
            } else {
                f32.push(wide)
            }
        }
        Self {
            shape,
            f32,
            bf16,
            first_page: 0,
        }
    }

    fn pages(&self) -> Vec<PageRef<'_>> {
        let wide = self.f32.iter().map(|p| PageRef::F32(p));
        let all: Vec<_> = wide
            .chain(self.bf16.iter().map(|p| PageRef::Bf16(p)))
            .collect();
        assert!(all.iter().all(|p| p.len() == self.shape.page_len()));
        all[self.first_page..].to_vec()
    }

    fn segment(&self, tokens: Range<usize>, start: usize) -> AttendSegment<'_> {
        AttendSegment {
            tokens,
            start,
            first_page: self.first_page,
            pages: self.pages(),
        }
    }
}

struct Case {
    shape: AttendShape,
    /// Queries, the last of `len` positions.
    m: usize,
    len: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(heads: usize, kv_heads: usize, head_dim: usize, m: usize, len: usize) -> Self {
        let kv = KvShape { kv_heads, head_dim };
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            shape: AttendShape {
                heads,
                kv,
                scale,
                window: None,
                softcap: None,
            },
            m,
            len,
            q: random(1, m * heads * head_dim, 2.0),
            k: random(2, len * kv_heads * head_dim, 1.0),
            v: random(3, len * kv_heads * head_dim, 1.0),
        }
    }

    fn start(&self) -> usize {
        self.len - self.m
    }

    fn cache(&self, is_bf16: bool) -> Cache {
        Cache::new(self.shape.kv, is_bf16, &self.k, &self.v, 0.0)
    }

    fn run(&self, cx: &Compute, cache: &Cache) -> Vec<f32> {
        let mut out = vec![0.0; self.q.len()];
        attend(
            cx,
            &self.shape,
            &self.q,
            &[cache.segment(0..self.m, self.start())],
            &mut out,
        );
        out
    }

    fn exact(&self) -> Vec<f64> {
        let KvShape { kv_heads, head_dim } = self.shape.kv;
        let at = |data: &[f32], j: usize, g: usize, d: usize| {
            f64::from(data[(j * kv_heads + g) * head_dim + d])
        };
        let mut out = Vec::new();
        for i in 0..self.m {
            let position = self.start() + i;
            let first = self.shape.first_seen(position);
            for h in 0..self.shape.heads {
                let g = h / self.shape.shared();
                let scores: Vec<f64> = (first..=position)
                    .map(|j| {
                        let q = &self.q[(i * self.shape.heads + h) * head_dim..];
                        let dot: f64 = (0..head_dim)
                            .map(|d| f64::from(q[d]) * at(&self.k, j, g, d))
                            .sum();
                        let score = dot * f64::from(self.shape.scale);
                        self.shape.softcap.map_or(score, |cap| {
                            f64::from(cap) * (score / f64::from(cap)).tanh()
                        })
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    let v = weights
                        .iter()
                        .zip(first..)
                        .map(|(w, j)| w * at(&self.v, j, g, d));
                    out.push(v.sum::<f64>() / sum);
                }
            }
        }
        out
    }
}

#[test]
fn matches_f64_on_every_path() {
    for (heads, kv_heads, head_dim, m, len) in [
        (1, 1, 16, 1, 1),
        (9, 3, 64, 1, 200),
        (9, 3, 64, 70, 70),
        (4, 4, 24, 5, 130),
        (8, 1, 80, 3, 1100),
        (14, 2, 64, 20, 1040),
        (32, 1, 8, 2, 65),
        (3, 3, 64, 2, 2200),
    ] {
        let mut case = Case::new(heads, kv_heads, head_dim, m, len);
        for (window, softcap) in [
            (None, None),
            (Some(1), None),
            (Some(100), None),
            (Some(1500), Some(3.0)),
        ] {
            (case.shape.window, case.shape.softcap) = (window, softcap);
            let exact = case.exact();
            let cache = case.cache(false);
            assert_close(&everywhere(|cx| case.run(cx, &cache)), &exact, 2e-6);
            let cache = case.cache(true);
            assert_close(&everywhere(|cx| case.run(cx, &cache)), &exact, 2e-2);
        }
    }
}

#[test]
fn splits_mates_and_depth_change_nothing() {
    for (m, len) in [(130, 130), (40, 1050), (75, 2100)] {
        let mut case = Case::new(6, 2, 40, m, len);
        let width = 6 * 40;
        for (window, is_bf16) in [
            (None, false),
            (None, true),
            (Some(70), false),
            (Some(1100), false),
        ] {
            case.shape.window = window;
            let cache = case.cache(is_bf16);
            let whole = case.run(&Compute::new(1), &cache);
            let start = case.start();
            for cx in [Compute::new(1), Compute::new(2), Compute::new(5)] {
                // One by one, seeing no later keys and no pages before the window.
                for i in (0..m).step_by(if cx.pool.threads() == 1 { 1 } else { 11 }) {
                    let len = (start + i + 1) * 80;
                    let mut early = Cache::new(
                        case.shape.kv,
                        is_bf16,
                        &case.k[..len],
                        &case.v[..len],
                        f32::NAN,
                    );
                    early.first_page = case.shape.first_seen(start + i) / PAGE;
                    let mut out = vec![0.0; width];
                    let q = &case.q[i * width..][..width];
                    attend(
                        &cx,
                        &case.shape,
                        q,
                        &[early.segment(0..1, start + i)],
                        &mut out,
                    );
                    assert!(
                        bits(&out) == bits(&whole[i * width..][..width]),
                        "query {i}"
                    );
                }
                // In ragged pieces, in one call.
                let mut out = vec![0.0; whole.len()];
                let cuts = [0, 1, 2, 19, m - 3, m];
                let segments: Vec<_> = cuts
                    .windows(2)
                    .rev()
                    .map(|cut| cache.segment(cut[0]..cut[1], start + cut[0]))
                    .collect();
                attend(&cx, &case.shape, &case.q, &segments, &mut out);
                assert!(bits(&out) == bits(&whole));
            }
        }
    }
}

#[test]
fn unseen_nan_does_not_count_and_seen_nan_does_not_panic() {
    let mut case = Case::new(4, 2, 16, 70, 70);
    let clean = case.run(&computes()[0], &case.cache(false));
    let width = 64;
    let at = 40 * 32;
    case.k[at] = f32::NAN;
    case.v[at] = f32::NAN;
    let cache = case.cache(false);
    let found = everywhere(|cx| case.run(cx, &cache));
    assert_eq!(found[..40 * width], clean[..40 * width]);
    assert!(found[40 * width].is_nan() && found[69 * width].is_nan());
    case.q[0] = f32::INFINITY;
    everywhere(|cx| case.run(cx, &cache));
}

#[test]
fn an_empty_call_is_fine() {
    let case = Case::new(2, 1, 16, 1, 1);
    let cache = case.cache(false);
    let cx = Compute::new(2);
    attend(&cx, &case.shape, &[], &[], &mut []);
    attend(&cx, &case.shape, &[], &[cache.segment(0..0, 1)], &mut []);
}
