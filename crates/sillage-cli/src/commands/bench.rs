//! `sillage bench`: how fast a model reads and writes, at which depth.

use crate::console::{self, median};
use crate::loading::{Loaded, ModelArgs};
use anyhow::{Result, ensure};
use serde::Serialize;
use sillage_models::{Row, Wanted};
use sillage_state::{Meta, Precision, Snapshot, State};
use std::time::Instant;

/// Measure prefill and decode speed; medians of several runs after a warm-up
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens to read in one prefill
    #[arg(long, default_value_t = 512, value_name = "N")]
    prefill: usize,
    /// Tokens to write per session in one decode run
    #[arg(long, default_value_t = 128, value_name = "N")]
    decode: usize,
    /// Sessions that write together, e.g. 1,4,16
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "N,..")]
    batch: Vec<usize>,
    /// Tokens already read when a run starts, e.g. 0,4096,16384
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,..")]
    depth: Vec<usize>,
    /// Runs of each case after one warm-up
    #[arg(long, default_value_t = 5, value_name = "N")]
    repeats: usize,
    /// Instead: write this many tokens in one session and show that speed and memory stay flat
    #[arg(long, value_name = "TOKENS", conflicts_with = "turn")]
    flat: Option<usize>,
    /// Instead: time to first token of a second turn after a history of this many tokens
    #[arg(long, value_name = "TOKENS")]
    turn: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    batch: usize,
    depth: usize,
    prefill_tokens: usize,
    prefill_tps: f64,
    prefill_runs: Vec<f64>,
    decode_tokens: usize,
    decode_tps: f64,
    decode_runs: Vec<f64>,
    state_bytes: u64,
}

#[derive(Serialize)]
struct Report {
    model: String,
    isa: &'static str,
    threads: usize,
    weight_bytes: u64,
    rows: Vec<Measured>,
}

#[derive(Serialize)]
struct Point {
    tokens: usize,
    tps: f64,
    rss_bytes: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.repeats > 0, "--repeats 0: give at least 1");
    ensure!(
        args.prefill > 0 && args.decode > 0,
        "--prefill and --decode must be at least 1"
    );
    ensure!(
        args.batch.iter().all(|&b| b > 0),
        "--batch 0: give at least 1"
    );
    let loaded = args.model.load()?;
    if let Some(tokens) = args.flat {
        return flat(args, &loaded, tokens);
    }
    if let Some(history) = args.turn {
        return turn(args, &loaded, history);
    }
    let bar = console::progress((args.batch.len() * args.depth.len()) as u64, "measuring");
    let mut rows = Vec::new();
    for &depth in &args.depth {
        let base = loaded.at_depth(depth)?;
        for &batch in &args.batch {
            rows.push(measure(args, &loaded, &base, batch)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let report = Report {
        model: loaded.name.clone(),
        isa: loaded.cx.isa.name(),
        threads: loaded.cx.pool.threads(),
        weight_bytes: loaded.model.weight_bytes(),
        rows,
    };
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report)?;
    }
    Ok(())
}

fn print(report: &Report) -> Result<()> {
    say!(
        "{}: {} threads, {}, {} of weights",
        report.model,
        report.threads,
        report.isa,
        console::bytes(report.weight_bytes)
    );
    let head = [
        "sessions",
        "depth",
        "prefill tok/s",
        "decode tok/s",
        "state per session",
    ];
    let mut table = vec![head.map(String::from).to_vec()];
    for row in &report.rows {
        table.push(vec![
            row.batch.to_string(),
            row.depth.to_string(),
            format!("{:.1}", row.prefill_tps),
            format!("{:.1}", row.decode_tps),
            console::bytes(row.state_bytes),
        ]);
    }
    say!("{}", console::table(&table));
    Ok(())
}

impl Loaded {
    /// Token `i` of a fixed sequence that visits the vocabulary unevenly.
    fn token(&self, i: usize) -> u32 {
        let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        (mixed % self.model.vocab() as u64) as u32
    }

    fn tokens(&self, from: usize, n: usize) -> Vec<u32> {
        (from..from + n).map(|i| self.token(i)).collect()
    }

    fn at_depth(&self, depth: usize) -> Result<State> {
        let mut state = self.model.new_state();
        if depth > 0 {
            self.read(&mut state, &self.tokens(0, depth), Wanted::None)?;
        }
        Ok(state)
    }

    fn read(&self, state: &mut State, tokens: &[u32], logits: Wanted) -> Result<()> {
        self.model.forward(
            &self.cx,
            &mut [Row {
                state,
                tokens,
                logits,
            }],
        )?;
        Ok(())
    }

    /// One token for every state.
    fn write(&self, states: &mut [State], i: usize) -> Result<()> {
        let tokens: Vec<u32> = (0..states.len()).map(|s| self.token(i * 31 + s)).collect();
        self.model.step(&self.cx, states, &tokens)?;
        Ok(())
    }
}

fn measure(args: &Args, loaded: &Loaded, base: &State, batch: usize) -> Result<Measured> {
    let depth = base.position() as usize;
    let prompt = loaded.tokens(depth, args.prefill);
    let (mut prefill_runs, mut decode_runs) = (Vec::new(), Vec::new());
    for repeat in 0..=args.repeats {
        let mut state = base.fork();
        let start = Instant::now();
        loaded.read(&mut state, &prompt, Wanted::Last)?;
        let prefill = args.prefill as f64 / start.elapsed().as_secs_f64();

        let mut states: Vec<State> = (0..batch).map(|_| base.fork()).collect();
        // The first write copies the shared state; that is forking, not decoding.
        loaded.write(&mut states, 0)?;
        let start = Instant::now();
        for i in 0..args.decode {
            loaded.write(&mut states, i + 1)?;
        }
        let decode = (batch * args.decode) as f64 / start.elapsed().as_secs_f64();
        if repeat > 0 {
            prefill_runs.push(prefill);
            decode_runs.push(decode);
        }
    }
    Ok(Measured {
        batch,
        depth,
        prefill_tokens: args.prefill,
        prefill_tps: median(&prefill_runs),
        prefill_runs,
        decode_tokens: args.decode,
        decode_tps: median(&decode_runs),
        decode_runs,
        state_bytes: loaded.model.layout().bytes((depth + args.decode) as u64),
    })
}

/// Writes `total` tokens in one session; a point at 1,000 and at every tenth.
fn flat(args: &Args, loaded: &Loaded, total: usize) -> Result<()> {
    let mut states = vec![loaded.model.new_state()];
    let bar = console::progress(total as u64, "writing");
    let mut points = Vec::new();
    let window = 1000.min(total.max(1));
    let stride = (total / 10).max(window);
    let mut start = Instant::now();
    for i in 1..=total {
        loaded.write(&mut states, i)?;
        if i % window == 0 {
            bar.set_position(i as u64);
            if i == window || i % stride < window {
                let tps = window as f64 / start.elapsed().as_secs_f64();
                points.push(Point {
                    tokens: i,
                    tps,
                    rss_bytes: console::resident_bytes(),
                });
            }
            start = Instant::now();
        }
    }
    bar.finish_and_clear();
    if args.json {
        say!("{}", serde_json::json!({ "points": points }));
        return Ok(());
    }
    let mut table = vec![["tokens", "tok/s", "memory"].map(String::from).to_vec()];
    for point in &points {
        table.push(vec![
            console::count(point.tokens as u64),
            format!("{:.1}", point.tps),
            point.rss_bytes.map_or("unknown".into(), console::bytes),
        ]);
    }
    say!("{}", console::table(&table));
    Ok(())
}

/// First token of a second turn: read all again, go on from memory, go on from
/// a file as after a restart.
fn turn(args: &Args, loaded: &Loaded, history: usize) -> Result<()> {
    let layout = loaded.model.layout();
    let new = loaded.tokens(history, 16);
    let kept = loaded.at_depth(history)?.freeze();
    let folder = std::env::temp_dir().join(format!("sillage-turn-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("history.state");
    let tokens = loaded.tokens(0, history);
    kept.clone()
        .with_meta(Meta::default().with_tokens(tokens))
        .save(&file, Precision::Exact)?;
    let (mut cold, mut warm, mut restart) = (Vec::new(), Vec::new(), Vec::new());
    let outcome = (|| -> Result<()> {
        for repeat in 0..=args.repeats {
            let timed = |runs: &mut Vec<f64>, work: &mut dyn FnMut() -> Result<()>| {
                let start = Instant::now();
                work()?;
                if repeat > 0 {
                    runs.push(start.elapsed().as_secs_f64() * 1000.0);
                }
                anyhow::Ok(())
            };
            timed(&mut cold, &mut || {
                let mut state = loaded.at_depth(history)?;
                loaded.read(&mut state, &new, Wanted::Last)
            })?;
            timed(&mut warm, &mut || {
                loaded.read(&mut kept.resume(), &new, Wanted::Last)
            })?;
            timed(&mut restart, &mut || {
                let mut state = Snapshot::load(&file, layout)?.resume();
                loaded.read(&mut state, &new, Wanted::Last)
            })?;
        }
        Ok(())
    })();
    std::fs::remove_dir_all(&folder)?;
    outcome?;
    let (cold_ms, warm_ms, restart_ms) = (median(&cold), median(&warm), median(&restart));
    if args.json {
        let report = serde_json::json!({
            "history": history, "cold_ms": cold_ms, "warm_ms": warm_ms, "restart_ms": restart_ms,
            "cold_runs": cold, "warm_runs": warm, "restart_runs": restart,
        });
        say!("{report}");
    } else {
        say!(
            "first token of a turn of {} tokens after {history}:",
            new.len()
        );
        say!("  all read again      {cold_ms:9.1} ms");
        say!(
            "  state in memory     {warm_ms:9.1} ms  ({:.0} times sooner)",
            cold_ms / warm_ms
        );
        say!("  state from its file {restart_ms:9.1} ms");
    }
    Ok(())
}
