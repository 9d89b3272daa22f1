//! What is written can be read again, in every format and in any pieces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sillage_audio::decode::{Clip, DecodeError, Limits, decode, decode_file};
use sillage_audio::encode::{EncodeError, Encoder, Format, RawSample, Settings};

const RATE: u32 = 24_000;

/// A voice-like sound: harmonics of a gliding tone in syllables, and some hiss.
fn sound(seconds: f64) -> Vec<f32> {
    let n = (f64::from(RATE) * seconds) as usize;
    let (mut phase, mut hiss) = (0f64, 1u32);
    (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            phase += std::f64::consts::TAU * (150.0 + 30.0 * (2.0 * t).sin()) / f64::from(RATE);
            hiss = hiss.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let tone: f64 = (1..12)
                .map(|h| (phase * f64::from(h)).sin() / f64::from(h))
                .sum();
            let level = 0.2 * (0.55 + 0.45 * (20.0 * t).sin());
            (level * tone + 0.002 * (f64::from(hiss) / 2f64.powi(31) - 1.0)) as f32
        })
        .collect()
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn piped(samples: &[f32], settings: Settings, piece: usize) -> Vec<u8> {
    let pipe = Pipe::default();
    let mut encoder = Encoder::to_writer(Box::new(pipe.clone()), settings).unwrap();
    for piece in samples.chunks(piece.max(1)) {
        encoder.push(piece).unwrap();
    }
    encoder.finish().unwrap();
    let bytes = pipe.0.lock().unwrap();
    bytes.clone()
}

fn filed(samples: &[f32], settings: Settings, path: &Path) {
    let mut encoder = Encoder::to_path(path, settings, None).unwrap();
    for piece in samples.chunks(777) {
        encoder.push(piece).unwrap();
    }
    let summary = encoder.finish().unwrap();
    assert_eq!(summary.bytes, std::fs::metadata(path).unwrap().len());
}

fn read(bytes: &[u8]) -> Clip {
    decode(bytes, RATE, &Limits::default()).unwrap()
}

/// Signal to noise in dB after the best shift within `shift` samples.
fn fidelity(original: &[f32], copy: &[f32], shift: usize) -> (f64, isize) {
    let at = |i: isize| {
        copy.get(usize::try_from(i).unwrap_or(usize::MAX))
            .copied()
            .unwrap_or(0.0)
    };
    let power: f64 = original.iter().map(|v| f64::from(v * v)).sum();
    let mut best = (f64::MIN, 0);
    for lag in -(shift as isize)..=shift as isize {
        let error: f64 = original
            .iter()
            .enumerate()
            .map(|(i, &v)| f64::from(v - at(i as isize + lag)).powi(2))
            .sum();
        let ratio = 10.0 * (power / error.max(1e-20)).log10();
        if ratio > best.0 {
            best = (ratio, lag);
        }
    }
    best
}

const FORMATS: [(Format, f64); 4] = [
    (Format::Wav, 70.0),
    (Format::Flac, 70.0),
    (Format::Opus, 10.0),
    #[cfg(feature = "mp3")]
    (Format::Mp3, 10.0),
    #[cfg(not(feature = "mp3"))]
    (Format::Wav, 70.0),
];

#[test]
fn files_and_pipes_hold_the_sound_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let original = sound(2.0);
    for (format, wanted) in FORMATS {
        let settings = Settings::new(format, RATE);
        let path = folder.path().join("sound");
        filed(&original, settings, &path);
        let clip = decode_file(&path, RATE, &Limits::default()).unwrap();
        let (ratio, lag) = fidelity(&original, &clip.samples, 3);
        assert!(ratio > wanted, "{format:?}: {ratio:.1} dB at {lag}");
        assert_eq!(clip.samples.len(), original.len(), "{format:?}");

        let clip = read(&piped(&original, settings, 500));
        // An MP3 in a pipe cannot tell how many samples the encoder added.
        let slack = if format == Format::Wav || format == Format::Flac || format == Format::Opus {
            3
        } else {
            2400
        };
        let (ratio, _) = fidelity(&original, &clip.samples, slack);
        assert!(ratio > wanted, "piped {format:?}: {ratio:.1} dB");
    }
}

/// What the Opus encoder loses when left to itself: the band above 4 kHz at
/// 12 kHz, and all upper bands where there are more bits than use for them.
#[test]
fn opus_keeps_the_upper_bands() {
    let (mut hiss, mut last) = (1u32, 0f32);
    let mut noise = move || {
        hiss = hiss.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Smoothed, so that resampling to and from 48 kHz costs nothing.
        let white = (hiss >> 8) as f32 / 16_777_216.0 - 0.5;
        let smooth = 0.5 * (white + last);
        last = white;
        smooth
    };
    for rate in [8_000, 12_000, 16_000, 24_000] {
        let noise: Vec<f32> = (0..rate).map(|_| noise()).collect();
        let tone = |i: u32| 0.3 * (std::f32::consts::TAU * 0.42 * i as f32).sin();
        let tone: Vec<f32> = (0..rate).map(tone).collect();
        for (name, original, bit_rate) in [("noise", noise, 256_000), ("tone", tone, 64_000)] {
            let settings = Settings {
                bit_rate: Some(bit_rate),
                ..Settings::new(Format::Opus, rate)
            };
            let bytes = piped(&original, settings, 480);
            let clip = decode(&bytes, rate, &Limits::default()).unwrap();
            let (ratio, lag) = fidelity(&original, &clip.samples, 2);
            assert!(ratio > 20.0, "{name} {rate}: {ratio:.1} dB at {lag}");
        }
    }
}

#[test]
fn every_rate_of_every_format() {
    let original = sound(0.5);
    let rates: [(Format, &[u32]); 3] = [
        (Format::Wav, &[8_000, 16_000, 22_050, 44_100, 48_000]),
        (Format::Flac, &[8_000, 16_000, 44_100, 48_000]),
        (Format::Opus, &[8_000, 12_000, 16_000, 24_000, 48_000]),
    ];
    for (format, rates) in rates {
        for &rate in rates {
            let settings = Settings {
                rate,
                ..Settings::new(format, RATE)
            };
            let clip = read(&piped(&original, settings, 480));
            assert!((clip.seconds() - 0.5).abs() < 0.002, "{format:?} {rate}");
            let (ratio, lag) = fidelity(&original, &clip.samples, 4);
            assert!(ratio > 8.0, "{format:?} {rate}: {ratio:.1} dB at {lag}");
        }
    }
    #[cfg(feature = "mp3")]
    for rate in [
        8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
    ] {
        let settings = Settings {
            rate,
            ..Settings::new(Format::Mp3, RATE)
        };
        let clip = read(&piped(&original, settings, 480));
        assert_eq!(clip.source_rate, rate);
        assert!(
            (0.5..0.8).contains(&clip.seconds()),
            "{rate}: {}",
            clip.seconds()
        );
    }
    for (format, rate) in [(Format::Opus, 44_100), (Format::Mp3, 96_000)] {
        let settings = Settings {
            rate,
            ..Settings::new(format, RATE)
        };
        let error = Encoder::to_writer(Box::new(Pipe::default()), settings)
            .err()
            .unwrap();
        assert!(
            matches!(error, EncodeError::FormatRate { .. } | EncodeError::NoMp3),
            "{error}"
        );
    }
}

#[test]
fn raw_samples_and_laws() {
    let samples = [0.0f32, 0.25, -0.25, 1.0, -1.0, 2.0, 0.01, -0.01];
    let raw = |kind| piped(&samples, Settings::new(Format::Raw(kind), RATE), 3);
    let s16: Vec<i16> = raw(RawSample::S16Le)
        .chunks(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect();
    assert_eq!(s16, [0, 8192, -8192, 32767, -32768, 32767, 328, -328]);
    assert_eq!(&raw(RawSample::F32Le)[4..8], &0.25f32.to_le_bytes());
    // As G.711's tables have it (negative numbers of the A-law count from -1).
    assert_eq!(
        raw(RawSample::MuLaw),
        [0xff, 0x9f, 0x1f, 0x80, 0x00, 0x80, 0xe3, 0x63]
    );
    assert_eq!(
        raw(RawSample::ALaw),
        [0xd5, 0xb5, 0x0a, 0xaa, 0x2a, 0xaa, 0xc1, 0x41]
    );
}

#[test]
fn a_wav_header_is_what_it_has_always_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    filed(&[0.5, -0.5], Settings::new(Format::Wav, RATE), &path);
    let bytes = std::fs::read(&path).unwrap();
    let header = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data\x04\0\0\0";
    assert_eq!(&bytes[..44], header);
    assert_eq!(&bytes[44..], [0, 0x40, 0, 0xc0]);
    let piped = piped(&[0.5], Settings::new(Format::Wav, RATE), 1);
    assert_eq!(
        (&piped[4..8], &piped[40..44]),
        (&[255u8; 4][..], &[255u8; 4][..])
    );
}

#[test]
fn no_sound_at_all_makes_valid_files() {
    let folder = tempfile::tempdir().unwrap();
    for (format, _) in FORMATS {
        let path = folder.path().join("empty");
        filed(&[], Settings::new(format, RATE), &path);
        let result = decode_file(&path, RATE, &Limits::default());
        assert!(
            matches!(&result, Err(DecodeError::Empty | DecodeError::NotAudio(_)))
                || result.as_ref().is_ok_and(|c| c.seconds() < 0.2),
            "{format:?}: {result:?}"
        );
    }
}

#[test]
fn a_dropped_encoder_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (format, _) in FORMATS {
        let path = folder.path().join("never");
        let mut encoder = Encoder::to_path(&path, Settings::new(format, RATE), None).unwrap();
        encoder.push(&sound(0.3)).unwrap();
        drop(encoder);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{format:?}"
        );
    }
}

#[test]
fn a_target_is_kept_until_the_new_sound_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, "old").unwrap();
    let mut encoder = Encoder::to_path(&path, Settings::new(Format::Wav, RATE), None).unwrap();
    assert!(matches!(
        encoder.push(&[0.0, f32::NAN]),
        Err(EncodeError::NotFinite(1))
    ));
    drop(encoder);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let missing = folder.path().join("no/such/folder.wav");
    let error = Encoder::to_path(&missing, Settings::new(Format::Wav, RATE), None)
        .err()
        .unwrap();
    assert!(error.to_string().contains("folder.wav"), "{error}");
}

#[test]
fn a_closed_pipe_is_an_ordinary_end() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [
        Format::Wav,
        Format::Flac,
        Format::Opus,
        Format::Raw(RawSample::S16Le),
    ] {
        let settings = Settings::new(format, RATE);
        let result = Encoder::to_writer(Box::new(Closed), settings)
            .and_then(|mut encoder| encoder.push(&sound(0.5)));
        assert!(matches!(result, Err(EncodeError::Closed)), "{format:?}");
    }
}

#[test]
fn broken_files_have_names() {
    let original = sound(1.0);
    let limits = Limits::default();
    for (format, _) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        filed(&original, Settings::new(format, RATE), &path);
        let whole = std::fs::read(&path).unwrap();
        let half = decode(&whole[..whole.len() / 2], RATE, &limits);
        assert!(
            matches!(
                half,
                Err(DecodeError::Truncated { .. } | DecodeError::Damaged(_))
            ),
            "{format:?}: {:?}",
            half.map(|c| c.seconds())
        );
        assert!(decode(&whole[..20], RATE, &limits).is_err(), "{format:?}");
    }
    assert!(matches!(
        decode(&[], RATE, &limits),
        Err(DecodeError::Empty)
    ));
    assert!(matches!(
        decode(b"just some text, no sound", RATE, &limits),
        Err(DecodeError::NotAudio(_))
    ));
    let missing = decode_file(Path::new("/no/such/file.wav"), RATE, &limits);
    assert!(matches!(missing, Err(DecodeError::Io { .. })));
}

#[test]
fn what_unpacks_to_too_much_stops_early() {
    let silence = vec![0.0; RATE as usize * 120];
    let bomb = piped(&silence, Settings::new(Format::Flac, RATE), 1 << 16);
    assert!(bomb.len() < 100_000);
    let limits = Limits {
        seconds: 30.0,
        ..Limits::default()
    };
    assert!(matches!(
        decode(&bomb, RATE, &limits),
        Err(DecodeError::TooLong { .. })
    ));
    let limits = Limits {
        bytes: 1000,
        ..Limits::default()
    };
    assert!(matches!(
        decode(&bomb, RATE, &limits),
        Err(DecodeError::TooBig { .. })
    ));
}

/// A WAV of any shape, by hand.
fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut out = b"RIFF".to_vec();
    out.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt \x10\0\0\0");
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&channels.to_le_bytes());
    out.extend_from_slice(&rate.to_le_bytes());
    let frame = channels * (bits / 8);
    out.extend_from_slice(&(rate * u32::from(frame)).to_le_bytes());
    out.extend_from_slice(&frame.to_le_bytes());
    out.extend_from_slice(&bits.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
    out
}

#[test]
fn formats_that_others_write() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (name, channels, source_rate) in [
        ("tone-aac.m4a", 1, 44_100),
        ("tone-vorbis.ogg", 1, 44_100),
        ("tone-stereo.mp3", 2, 44_100),
        ("tone-24bit.flac", 1, 44_100),
        ("tone-opus-stereo.opus", 2, 48_000),
    ] {
        let clip = decode_file(&folder.join(name), RATE, &Limits::default()).unwrap();
        assert_eq!(
            (clip.source_channels, clip.source_rate),
            (channels, source_rate),
            "{name}"
        );
        assert!(
            (0.49..0.56).contains(&clip.seconds()),
            "{name}: {} s",
            clip.seconds()
        );
        // The tone, whatever its phase, carries nearly all the power.
        let middle = &clip.samples[4000..8000];
        let step = std::f64::consts::TAU * 440.0 / f64::from(RATE);
        let part = |f: fn(f64) -> f64| -> f64 {
            middle
                .iter()
                .enumerate()
                .map(|(i, &v)| f64::from(v) * f(step * i as f64))
                .sum()
        };
        let amplitude = part(f64::sin).hypot(part(f64::cos)) * 2.0 / middle.len() as f64;
        // FFmpeg spreads one channel over two at -3 dB.
        let wanted = 0.125 / (channels as f64).sqrt();
        assert!(
            (amplitude / wanted - 1.0).abs() < 0.1,
            "{name}: {amplitude}"
        );
        let power: f64 =
            middle.iter().map(|&v| f64::from(v * v)).sum::<f64>() / middle.len() as f64;
        assert!(
            (power / (amplitude * amplitude / 2.0) - 1.0).abs() < 0.02,
            "{name}"
        );
        let whole = std::fs::read(folder.join(name)).unwrap();
        let half = decode(&whole[..whole.len() / 2], RATE, &Limits::default());
        assert!(half.is_err(), "{name}: {:?}", half.map(|c| c.seconds()));
    }
}

#[test]
fn stereo_is_averaged_and_more_is_refused() {
    let frames: Vec<u8> = (0..4800)
        .flat_map(|_| [16_384i16, 0])
        .flat_map(i16::to_le_bytes)
        .collect();
    let clip = read(&wav(1, 2, 48_000, 16, &frames));
    assert_eq!(
        (clip.source_channels, clip.source_rate, clip.samples.len()),
        (2, 48_000, 2400)
    );
    assert!(
        clip.samples[1000..1400]
            .iter()
            .all(|v| (v - 0.25).abs() < 1e-3)
    );
    let many = wav(1, 6, 48_000, 16, &[0; 4800]);
    assert!(matches!(
        decode(&many, RATE, &Limits::default()),
        Err(DecodeError::Channels { found: 6, .. })
    ));
}

#[test]
fn floats_that_are_no_numbers_become_silence() {
    let values = [0.5f32, f32::NAN, f32::INFINITY, -0.5, 1e30, 0.25];
    let data: Vec<u8> = values
        .iter()
        .cycle()
        .take(2400)
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let clip = read(&wav(3, 1, RATE, 32, &data));
    assert!(clip.samples.iter().all(|v| v.is_finite() && v.abs() <= 8.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_bytes_do_not_depend_on_the_pieces(n in 1usize..9000, piece in 1usize..3000, which in 0usize..3, low: bool) {
        let samples = sound(0.4)[..n].to_vec();
        let format = [Format::Wav, Format::Flac, Format::Opus][which];
        let settings = Settings { rate: if low { 8_000 } else { RATE }, ..Settings::new(format, RATE) };
        prop_assert_eq!(piped(&samples, settings, piece), piped(&samples, settings, n));
    }

    #[test]
    fn changed_bytes_never_panic(at in prop::collection::vec((0usize..6000, any::<u8>()), 1..20), which in 0usize..4) {
        let mut bytes = piped(&sound(0.3), Settings::new(FORMATS[which].0, RATE), 4000);
        for (at, byte) in at {
            let n = bytes.len();
            bytes[at % n] = byte;
        }
        if let Ok(clip) = decode(&bytes, RATE, &Limits::default()) {
            prop_assert!(clip.samples.iter().all(|v| v.is_finite()));
        }
    }
}
