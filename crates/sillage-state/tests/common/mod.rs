//! A stand-in for a model: feeds every slot from the tokens alone, one token
//! at a time, so that law 1 holds of it by construction.
#![allow(clippy::unwrap_used, dead_code)]

use sillage_kernels::{KvShape, StateMut};
use sillage_state::{Fingerprint, Layout, SlotSpec, State, StateType};
use std::sync::Arc;

/// A layout with every kind of slot in every type.
pub(crate) fn layout(model: &[u8]) -> Arc<Layout> {
    let shape = KvShape {
        kv_heads: 2,
        head_dim: 16,
    };
    let kv = |ty, window| SlotSpec::Kv { shape, ty, window };
    let slots = vec![
        (
            "layers.0.conv".to_owned(),
            SlotSpec::Conv {
                channels: 5,
                d_conv: 4,
            },
        ),
        (
            "layers.0.ssm".to_owned(),
            SlotSpec::Scan {
                len: 48,
                ty: StateType::F32,
            },
        ),
        (
            "layers.1.conv".to_owned(),
            SlotSpec::Conv {
                channels: 3,
                d_conv: 1,
            },
        ),
        (
            "layers.1.ssm".to_owned(),
            SlotSpec::Scan {
                len: 32,
                ty: StateType::Bf16,
            },
        ),
        ("layers.2.kv".to_owned(), kv(StateType::F32, None)),
        ("layers.3.kv".to_owned(), kv(StateType::Bf16, None)),
        ("layers.4.kv".to_owned(), kv(StateType::F32, Some(70))),
        ("layers.5.kv".to_owned(), kv(StateType::Bf16, Some(64))),
    ];
    Arc::new(Layout::new(Fingerprint::of(model), slots).unwrap())
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn number(token: u32, at: usize) -> f32 {
    (mix(u64::from(token) << 20 | at as u64) >> 40) as f32 / (1 << 24) as f32 - 0.5
}

/// Feeds `tokens` in one `forward`.
pub(crate) fn feed(state: &mut State, tokens: &[u32]) {
    let specs = state.layout().slots().to_vec();
    for (slot, (_, spec)) in specs.iter().enumerate() {
        for &token in tokens {
            match *spec {
                SlotSpec::Conv { channels, .. } => {
                    let window = state.conv_mut(slot);
                    if window.len() > channels {
                        window.copy_within(channels.., 0);
                    }
                    let last = window.len().saturating_sub(channels);
                    let end = &mut window[last..];
                    end.iter_mut()
                        .enumerate()
                        .for_each(|(i, v)| *v = number(token, i));
                }
                SlotSpec::Scan { .. } => match state.scan_mut(slot) {
                    StateMut::F32(values) => {
                        let each = values.iter_mut().enumerate();
                        each.for_each(|(i, v)| *v = *v * 0.9 + number(token, i));
                    }
                    StateMut::Bf16(values) => {
                        let each = values.iter_mut().enumerate();
                        each.for_each(|(i, v)| {
                            *v = v.wrapping_mul(3) ^ mix(u64::from(token) + i as u64) as u16
                        });
                    }
                },
                SlotSpec::Kv { shape, .. } => {
                    let row = |salt| -> Vec<f32> {
                        (0..shape.kv_heads * shape.head_dim)
                            .map(|i| number(token, i + salt))
                            .collect()
                    };
                    state.kv_mut(slot).append(1, &row(slot), &row(slot + 1000));
                }
                _ => unreachable!(),
            }
        }
    }
    state.advance(tokens.len() as u64);
}

/// The state after `tokens`, from the start.
pub(crate) fn fed(layout: &Arc<Layout>, tokens: &[u32]) -> State {
    let mut state = State::new(Arc::clone(layout));
    feed(&mut state, tokens);
    state
}
