use sillage_kernels::*;
fn cpu() -> f64 { let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 }; unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) }; t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9 }
fn best(n: usize, mut f: impl FnMut()) -> f64 { f(); (0..n).map(|_| { let s = cpu(); f(); cpu() - s }).fold(f64::INFINITY, f64::min) }
fn main() {
    let cx = Compute::new(1);
    for (heads, layers) in [(24usize, 24usize)] {
        let shape = SsdShape { heads, headdim: 64, d_state: 128, groups: 1 };
        let inner = heads * 64;
        for bf16 in [false, true] {
            for m in [1usize, 2, 8, 64] {
                let xbc = vec![0.5f32; m * (inner + 256)];
                let dt = vec![0.3f32; m * heads];
                let (a, d) = (vec![-1.0; heads], vec![1.0; heads]);
                let mut y = vec![0.0; m * inner];
                let mut s32 = vec![Buffer::<f32>::zeroed(shape.state_len()); layers];
                let mut s16 = vec![Buffer::<u16>::zeroed(shape.state_len()); layers];
                let t = best(if layers > 1 {100} else {300}, || for l in 0..layers {
                    let state = if bf16 { StateMut::Bf16(&mut s16[l]) } else { StateMut::F32(&mut s32[l]) };
                    ssd(&cx, &shape, &xbc, &dt, &a, Some(&d), &mut [ScanSegment { tokens: 0..m, state }], &mut y);
                });
                println!("ssd heads {heads} layers {layers} bf16 {bf16} m {m}: {:.2} ns/tile", t * 1e9 / (m * heads * 32 * layers) as f64);
            }
        }
    }
    for (bf16, pos) in [(false, 960usize), (false, 4096*3), (true, 960), (true, 4096 * 3)] {
        let kv = KvShape { kv_heads: 3, head_dim: 64 };
        let shape = AttendShape { heads: 9, kv, scale: 0.125, window: None, softcap: None };
        let n = pos / 64 + 1;
        let p32 = vec![Buffer::<f32>::zeroed(kv.page_len()); if bf16 {0} else {n}];
        let p16 = vec![Buffer::<u16>::zeroed(kv.page_len()); if bf16 {n} else {0}];
        for m in [1usize, 64] {
        let q = vec![0.1f32; m * 9 * 64]; let mut out = q.clone();
        let t = best(if m == 1 {100} else {10}, || {
            let pages = p32.iter().map(|p| PageRef::F32(p)).chain(p16.iter().map(|p| PageRef::Bf16(p))).collect();
            attend(&cx, &shape, &q, &[AttendSegment { tokens: 0..m, start: pos - 1 , first_page: 0, pages }], &mut out);
        });
        println!("attend bf16 {bf16} positions {pos} m {m}: {:.1} GB/s {:.1} GFLOP/s", (n * kv.page_len() * if bf16 {2} else {4}) as f64 / t / 1e9, (m * pos * 9 * 64 * 4) as f64 / t / 1e9);
        }
    }
    for (inner, layers) in [(128, 1)] {
        let shape = SelectiveShape { d_inner: inner, d_state: 16 };
        for m in [1usize, 2, 8, 64] {
            let x = vec![0.5f32; m * inner];
            let dt = vec![0.3f32; m * inner];
            let bc = vec![0.3f32; m * 80];
            let a: Vec<Vec<f32>> = vec![vec![-1.0; inner * 16]; layers]; let d = vec![1.0; inner];
            let mut y = vec![0.0; m * inner];
            let mut s32 = vec![Buffer::<f32>::zeroed(shape.state_len()); layers];
            let t = best(200, || for l in 0..layers {
                selective_scan(&cx, &shape, &x, &dt, &a[l], &bc, &bc[16..], 80, &d, &mut [ScanSegment { tokens: 0..m, state: StateMut::F32(&mut s32[l]) }], &mut y);
            });
            println!("selective inner {inner} layers {layers} m {m}: {:.2} ns/exp", t * 1e9 / (m * inner * layers) as f64);
        }
    }
}
