//! `sillage say`: text to speech, spoken while it is still being typed.

mod lines;
mod output;
mod source;
mod timestamps;

use crate::console;
use crate::speaking::{self, DEFAULT_VOICE, Home};
use anyhow::{Context, Result};
use output::Output;
use serde::Serialize;
use sillage_audio::watermark::Key;
use sillage_kernels::Compute;
use sillage_voice::{Alphabet, FIRST_CHUNK, Reset, Speech, SpeechOptions, Utterance, VoiceModel};
use source::{Piece, Source};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use timestamps::Timestamps;

/// Speak a text
///
/// The text may hold `<break time="1s"/>`, `<spell>ABC</spell>`, `<speed ratio="1.2"/>`, `<volume ratio="0.8"/>` and
/// phonemes such as `<<h|ə|l|oʊ>>`. Text from a pipe is spoken while it is still being written. All sound
/// carries an inaudible watermark (`sillage detect`), and files a signed manifest (`sillage manifest`).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to say [default: standard input]
    #[arg(conflicts_with = "file")]
    text: Option<String>,
    /// A text file to read aloud
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where the sound goes: a file ending in .wav, .flac, .opus, .mp3 or .raw; - for WAV and raw for bare
    /// 16-bit samples on standard output [default: the loudspeaker]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A voice's name (see `sillage voices`) or file
    #[arg(long, default_value = DEFAULT_VOICE, value_name = "NAME")]
    voice: String,
    /// Times the ordinary speed, 0.6 to 1.5
    #[arg(long, default_value_t = 1.0, value_name = "RATIO")]
    speed: f32,
    /// Times the ordinary volume, 0.5 to 2
    #[arg(long, default_value_t = 1.0, value_name = "RATIO")]
    volume: f32,
    /// Write when each word and its phonemes are said, in seconds, as JSON
    #[arg(long, value_name = "FILE")]
    timestamps: Option<PathBuf>,
    /// Play the sound as it is made, beside writing it
    #[arg(long)]
    play: bool,
    /// A pronunciation dictionary: a word, a tab and its phonemes a line
    #[arg(long, value_name = "FILE")]
    dictionary: Option<PathBuf>,
    /// Makes the noise in the sound; the same seed gives the same samples
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u32,
    /// 32 bits that the watermark carries, in hexadecimal
    #[arg(long, default_value = "00000000", value_name = "HEX", value_parser = hexadecimal)]
    payload: u32,
    /// A file whose text is the watermark's secret key [default: the public key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Another voice model than the built-in one
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Never go back to the voice's state at the ends of sentences
    #[arg(long)]
    carry: bool,
    /// Answer requests on standard input, one JSON object a line, with figures (see benches/voice)
    #[arg(long, conflicts_with_all = ["text", "file", "output", "play", "timestamps", "json"])]
    lines: bool,
    /// Threads to compute on
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

fn hexadecimal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_| "give up to 8 hexadecimal digits".to_owned())
}

/// What is told at the end.
#[derive(Serialize)]
struct Figures {
    voice: String,
    seconds: f64,
    /// From the first text handed over until the first 20 ms of sound were written.
    first_audio_ms: Option<f64>,
    /// Computing time per second of sound.
    real_time_factor: Option<f64>,
    file: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    check(args)?;
    let home = Home::find()?;
    let (model, print) = speaking::model(args.model.as_deref())?;
    let voice = speaking::voice(&model, &home, &args.voice)?;
    let front = speaking::front_end(&voice, args.dictionary.as_deref())?;
    let cx = Compute::new(args.threads);
    let speaker = model.speaker(&cx, &voice)?;
    let alphabet = Alphabet::of(&model);
    let options = options(args)?;
    if args.lines {
        let server = lines::Server {
            model: &model,
            cx: &cx,
            alphabet: &alphabet,
            front: &front,
            speaker: &speaker,
            options: &options,
        };
        return server.serve();
    }
    let source = Source::open(args.text.as_deref(), args.file.as_deref())?;
    let mut output = Output::open(args, &home, &voice, &print)?;
    let speech = Speech::new(&alphabet, &front, &speaker, &options);
    let mut speaking = Speaking {
        model: &model,
        cx: &cx,
        speech,
        timestamps: args.timestamps.is_some().then(Timestamps::default),
        computing: Duration::ZERO,
        handed: None,
        first: None,
    };
    speaking.speak(source, &mut output)?;
    let seconds = speaking.speech.utterance.seconds();
    let file = output.finish()?;
    if let (Some(path), Some(said)) = (&args.timestamps, &speaking.timestamps) {
        said.write(path, model.symbols())?;
    }
    let known = |value: f64| (seconds > 0.0).then_some(value);
    let figures = Figures {
        voice: voice.name,
        seconds,
        first_audio_ms: speaking.first.map(|time| time.as_secs_f64() * 1e3),
        real_time_factor: known(speaking.computing.as_secs_f64() / seconds),
        file,
    };
    tell(args, &figures)
}

fn options(args: &Args) -> Result<SpeechOptions> {
    Ok(SpeechOptions {
        seed: args.seed,
        speed: args.speed,
        volume: args.volume,
        payload: args.payload,
        key: watermark_key(args.key.as_deref())?,
        reset: if args.carry {
            Reset::Never
        } else {
            Reset::SentenceEnd
        },
    })
}

fn check(args: &Args) -> Result<()> {
    anyhow::ensure!(
        (0.6..=1.5).contains(&args.speed),
        "--speed {}: give a ratio from 0.6 to 1.5",
        args.speed
    );
    anyhow::ensure!(
        (0.5..=2.0).contains(&args.volume),
        "--volume {}: give a ratio from 0.5 to 2",
        args.volume
    );
    anyhow::ensure!(
        (1..=1024).contains(&args.threads),
        "--threads {}: give a number from 1 to 1024",
        args.threads
    );
    Ok(())
}

/// The key in a file, or the one that everybody knows.
pub(crate) fn watermark_key(path: Option<&std::path::Path>) -> Result<Key> {
    let Some(path) = path else {
        return Ok(Key::PUBLIC);
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the key in {}", path.display()))?;
    anyhow::ensure!(
        text.trim().len() >= 16,
        "{}: a key needs at least 16 characters",
        path.display()
    );
    Ok(Key::from_text(&text))
}

/// A speech on its way from text to output, and how long things took.
struct Speaking<'a> {
    model: &'a VoiceModel,
    cx: &'a Compute,
    speech: Speech,
    /// Gathered where they are wanted.
    timestamps: Option<Timestamps>,
    computing: Duration,
    handed: Option<Instant>,
    first: Option<Duration>,
}

impl Speaking<'_> {
    /// Speaks all that the source gives. New text is taken in between two chunks of sound, so that whoever
    /// types is never waited for, nor waits.
    fn speak(&mut self, mut source: Source, output: &mut Output) -> Result<()> {
        let bar = console::progress(source.bytes().unwrap_or(0), "speaking");
        loop {
            let wait = self.speech.utterance.is_waiting();
            match source.next(wait)? {
                Piece::Text(text) => {
                    self.timed(|this| Ok(this.speech.push(&text)?))?;
                    bar.inc(text.len() as u64);
                }
                Piece::End => self.timed(|this| Ok(this.speech.finish()?))?,
                Piece::None => {}
            }
            if self.speech.utterance.is_done() {
                break;
            }
            if !self.speech.utterance.is_waiting() {
                self.timed(Self::advance)?;
                let samples = self.speech.utterance.take_samples();
                output.push(&samples)?;
                let enough = self.speech.utterance.seconds() >= 0.02;
                if let (None, Some(handed), true) = (self.first, self.handed, enough) {
                    self.first = Some(handed.elapsed());
                }
            }
        }
        bar.finish_and_clear();
        anyhow::ensure!(
            self.speech.units() > 0,
            "there is nothing to say: the text holds no words"
        );
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        let steps = self.speech.utterance.next_chunk().max(FIRST_CHUNK);
        let utterance: &mut Utterance = &mut self.speech.utterance;
        self.model.advance(self.cx, &mut [utterance], steps)?;
        let words = self.speech.utterance.take_words();
        let phones = self.speech.utterance.take_phones();
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.add(words, phones);
        }
        Ok(())
    }

    fn timed(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let began = Instant::now();
        self.handed.get_or_insert(began);
        let result = work(self);
        self.computing += began.elapsed();
        result
    }
}

fn tell(args: &Args, figures: &Figures) -> Result<()> {
    let to_stdout = args.output.as_deref().is_some_and(output::is_stdout);
    if args.json {
        let text = serde_json::to_string(figures)?;
        if to_stdout {
            eprintln!("{text}");
        } else {
            say!("{text}");
        }
        return Ok(());
    }
    let file = figures
        .file
        .as_ref()
        .map(|file| format!("{file}: "))
        .unwrap_or_default();
    let first = figures
        .first_audio_ms
        .map(|ms| format!(", first sound after {ms:.1} ms"))
        .unwrap_or_default();
    let factor = figures
        .real_time_factor
        .map(|rtf| format!(", real-time factor {rtf:.4}"))
        .unwrap_or_default();
    eprintln!(
        "{file}{:.2} s of speech by {}{first}{factor}",
        figures.seconds, figures.voice
    );
    Ok(())
}
