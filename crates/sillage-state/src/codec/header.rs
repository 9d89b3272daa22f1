//! The header: everything about a state but its numbers.

use super::StateFileError;
use crate::layout::{Fingerprint, Layout, SlotSpec, StateType, live_pages};
use crate::state::{Slot, State};
use serde::{Deserialize, Serialize};
use sillage_kernels::PAGE;
use std::collections::BTreeMap;
use std::fmt;

/// How numbers kept in f32 are stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are: resuming is exact.
    #[default]
    Exact,
    /// Rounded to bf16: half the bytes, and resuming is approximate.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Bf16 => "bf16 (lossy)",
        })
    }
}

/// Kind and size of a slot, as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum SlotKind {
    /// See [`SlotSpec::Conv`].
    #[serde(rename_all = "snake_case")]
    Conv {
        /// Channels of the convolution.
        channels: u64,
        /// Taps of the convolution.
        d_conv: u64,
    },
    /// See [`SlotSpec::Scan`].
    Scan {
        /// Elements.
        len: u64,
        /// Their type in the running model.
        #[serde(rename = "type")]
        ty: StateType,
    },
    /// See [`SlotSpec::Kv`].
    Kv {
        /// Heads of keys and values.
        kv_heads: u64,
        /// Width of a head.
        head_dim: u64,
        /// Positions a page.
        page: u64,
        /// Elements of a page.
        page_len: u64,
        /// Their type in the running model.
        #[serde(rename = "type")]
        ty: StateType,
        /// The sliding window.
        window: Option<u64>,
    },
}

impl SlotKind {
    pub(crate) fn of(spec: &SlotSpec) -> Self {
        match *spec {
            SlotSpec::Conv { channels, d_conv } => Self::Conv {
                channels: channels as u64,
                d_conv: d_conv as u64,
            },
            SlotSpec::Scan { len, ty } => Self::Scan {
                len: len as u64,
                ty,
            },
            SlotSpec::Kv { shape, ty, window } => Self::Kv {
                kv_heads: shape.kv_heads as u64,
                head_dim: shape.head_dim as u64,
                page: PAGE as u64,
                page_len: shape.page_len() as u64,
                ty,
                window: window.map(|window| window as u64),
            },
        }
    }
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conv { channels, d_conv } => {
                write!(f, "conv of {channels} channels, d_conv {d_conv}")
            }
            Self::Scan { len, ty } => write!(f, "scan of {len} {ty}"),
            Self::Kv {
                kv_heads,
                head_dim,
                page,
                ty,
                window,
                ..
            } => {
                write!(
                    f,
                    "KV cache of {kv_heads} heads of {head_dim} in {ty}, pages of {page}"
                )?;
                window.map_or(Ok(()), |window| write!(f, ", window {window}"))
            }
        }
    }
}

/// A slot as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotInfo {
    /// Its name, e.g. `layers.3.ssm`.
    pub name: String,
    /// Its kind and size.
    pub spec: SlotKind,
    /// Positions in the cache (including those a window has dropped); only
    /// for KV caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positions: Option<u64>,
}

impl SlotInfo {
    /// Bytes in the file; `None` if they exceed all bounds.
    pub(crate) fn stored_bytes(&self, precision: Precision) -> Option<u64> {
        if matches!(self.spec, SlotKind::Kv { .. }) != self.positions.is_some() {
            return None;
        }
        let (count, ty) = match self.spec {
            SlotKind::Conv { channels, d_conv } => (
                channels.checked_mul(d_conv.checked_sub(1)?)?,
                StateType::F32,
            ),
            SlotKind::Scan { len, ty } => (len, ty),
            SlotKind::Kv {
                page_len,
                ty,
                window,
                ..
            } => {
                let (first, end) = live_pages(countable(self.positions?)?, window);
                (page_len.checked_mul(end - first)?, ty)
            }
        };
        count.checked_mul(match precision {
            Precision::Exact => ty.bytes(),
            Precision::Bf16 => 2,
        })
    }
}

/// The token history's size and checksum; it precedes the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokensHeader {
    pub(crate) count: u64,
    /// xxh3-64 of the tokens' bytes, so that they can be read alone.
    pub(crate) hash: u64,
}

/// The JSON header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) model: Fingerprint,
    pub(crate) position: u64,
    pub(crate) precision: Precision,
    pub(crate) lossy: bool,
    pub(crate) tokens: Option<TokensHeader>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) slots: Vec<SlotInfo>,
}

impl Header {
    /// The slots of `state` as a file tells them.
    pub(crate) fn slots_of(state: &State) -> Vec<SlotInfo> {
        let specs = state.layout().slots().iter().zip(&state.slots);
        let info = specs.map(|((name, spec), slot)| SlotInfo {
            name: name.clone(),
            spec: SlotKind::of(spec),
            positions: match slot {
                Slot::Kv(cache) => Some(cache.len() as u64),
                _ => None,
            },
        });
        info.collect()
    }

    /// Bytes of the payload that this header describes; `None` if they
    /// exceed all bounds.
    pub(crate) fn payload_bytes(&self) -> Option<u64> {
        countable(self.position)?;
        let tokens = self
            .tokens
            .map_or(Some(0), |tokens| tokens.count.checked_mul(4))?;
        self.slots.iter().try_fold(tokens, |sum, slot| {
            sum.checked_add(slot.stored_bytes(self.precision)?)
        })
    }

    /// Whether a model of this layout can take the state.
    pub(crate) fn check(&self, layout: &Layout) -> Result<(), StateFileError> {
        if self.model != layout.model() {
            let hint = self
                .meta
                .get(META_MODEL)
                .map(|name| format!(", made by {name:?}"));
            return Err(StateFileError::OtherModel {
                file: self.model,
                model: layout.model(),
                hint: hint.unwrap_or_default(),
            });
        }
        let different = |difference| Err(StateFileError::OtherLayout { difference });
        let wanted = layout.slots();
        if self.slots.len() != wanted.len() {
            let (file, model) = (self.slots.len(), wanted.len());
            return different(format!("it has {file} slots, the model has {model}"));
        }
        for (slot, (name, spec)) in self.slots.iter().zip(wanted) {
            let spec = SlotKind::of(spec);
            if slot.name != *name {
                return different(format!(
                    "it has slot {:?} where the model has {name:?}",
                    slot.name
                ));
            }
            if slot.spec != spec {
                return different(format!(
                    "slot {name:?} is a {} there, a {spec} here",
                    slot.spec
                ));
            }
        }
        Ok(())
    }
}

/// `position`, unless it leaves no room to count on from it.
fn countable(position: u64) -> Option<u64> {
    let fits = usize::try_from(position).is_ok_and(|position| isize::try_from(position).is_ok());
    fits.then_some(position)
}

/// The metadata entry that holds the model's name, by convention.
pub(crate) const META_MODEL: &str = "model";

/// What a state file says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileInfo {
    /// Version of the format.
    pub version: u32,
    /// The model it belongs to.
    pub model: Fingerprint,
    /// Tokens consumed.
    pub position: u64,
    /// How numbers kept in f32 are stored in this file.
    pub precision: Precision,
    /// Whether this state, or one it descends from, was ever stored with
    /// loss.
    pub lossy: bool,
    /// Tokens of the history, if it is kept.
    pub tokens: Option<u64>,
    /// Free metadata.
    pub meta: BTreeMap<String, String>,
    /// The slots.
    pub slots: Vec<SlotInfo>,
    /// Bytes of the header.
    pub header_bytes: u64,
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}
