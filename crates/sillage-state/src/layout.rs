//! What a model's state is made of.

use crate::bits;
use serde::{Deserialize, Serialize};
use sillage_kernels::{KvShape, PAGE};
use std::collections::HashSet;
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The number type in which a slot is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateType {
    /// 4 bytes an element.
    #[default]
    F32,
    /// 2 bytes an element.
    Bf16,
}

impl StateType {
    /// Bytes an element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// One part of a model's state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SlotSpec {
    /// The last `d_conv - 1` inputs of a causal convolution, in f32:
    /// `[d_conv - 1, channels]`, oldest first, zeros before the first token.
    Conv {
        /// Channels of the convolution.
        channels: usize,
        /// Taps of the convolution.
        d_conv: usize,
    },
    /// The state of a selective scan or SSD: `len` numbers in the order of
    /// its kernel, zeros before the first token.
    Scan {
        /// Elements.
        len: usize,
        /// Their type.
        ty: StateType,
    },
    /// Keys and values of an attention layer, in pages of [`PAGE`] positions.
    Kv {
        /// Heads and their width.
        shape: KvShape,
        /// Type of keys and values.
        ty: StateType,
        /// A query at position `i` sees only positions `j > i - window`.
        window: Option<usize>,
    },
}

impl SlotSpec {
    /// Bytes that the slot occupies whatever the position.
    #[must_use]
    pub fn fixed_bytes(&self) -> u64 {
        match *self {
            Self::Conv { channels, d_conv } => 4 * (channels * (d_conv - 1)) as u64,
            Self::Scan { len, ty } => len as u64 * ty.bytes(),
            Self::Kv { .. } => 0,
        }
    }

    /// Bytes of one page of keys and values; 0 for slots of fixed size.
    fn page_bytes(&self) -> u64 {
        match *self {
            Self::Kv { shape, ty, .. } => shape.page_len() as u64 * ty.bytes(),
            _ => 0,
        }
    }

    /// Bytes that the slot occupies after `position` tokens.
    fn bytes_at(&self, position: u64) -> u64 {
        match *self {
            Self::Kv { window, .. } => {
                let (first, end) = live_pages(position, window.map(|w| w as u64));
                (end - first).saturating_mul(self.page_bytes())
            }
            _ => self.fixed_bytes(),
        }
    }
}

/// Absolute indices of the pages `first..end` that a cache of `len` positions
/// must keep: those holding a position that the next query can see.
pub(crate) fn live_pages(len: u64, window: Option<u64>) -> (u64, u64) {
    let page = PAGE as u64;
    let first_seen = window.map_or(0, |window| len.saturating_sub(window.saturating_sub(1)));
    let end = len.div_ceil(page);
    ((first_seen / page).min(end), end)
}

/// Identity of a model: a hash of its description and its weights.
///
/// A state file carries it, so that a state is never loaded into another
/// model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The xxh3-128 hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }

    /// A hasher, for models that do not lie in one piece.
    #[must_use]
    pub fn hasher() -> FingerprintHasher {
        FingerprintHasher(Box::new(Xxh3::new()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bits::hex(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = bits::unhex(&text)
            .ok_or_else(|| serde::de::Error::custom("a fingerprint is 32 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// Hashes a model piece by piece into a [`Fingerprint`].
pub struct FingerprintHasher(Box<Xxh3>);

impl FingerprintHasher {
    /// Adds bytes; how they are cut into pieces does not matter.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The fingerprint of everything added.
    #[must_use]
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(self.0.digest128().to_be_bytes())
    }
}

impl fmt::Debug for FingerprintHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FingerprintHasher({})", self.finish())
    }
}

/// Why a layout cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A size is zero, or too large to address.
    #[error(
        "state slot `{name}` has an impossible size ({spec:?}); check the model's configuration"
    )]
    Size {
        /// The slot.
        name: String,
        /// What was asked for.
        spec: SlotSpec,
    },
    /// Two slots have one name.
    #[error("two state slots are called `{name}`; give each layer's slot a name of its own")]
    Name {
        /// The name.
        name: String,
    },
}

/// The slots of a model's state, and the model they belong to.
#[derive(Clone, Debug)]
pub struct Layout {
    slots: Vec<(String, SlotSpec)>,
    model: Fingerprint,
    id: [u8; 16],
}

impl Layout {
    /// A layout of named slots, e.g. `layers.3.ssm`, for one model.
    ///
    /// # Errors
    /// If a size is zero or overflows, or two slots share a name.
    pub fn new(model: Fingerprint, slots: Vec<(String, SlotSpec)>) -> Result<Self, LayoutError> {
        let mut names = HashSet::new();
        for (name, spec) in &slots {
            if !possible(spec) {
                return Err(LayoutError::Size {
                    name: name.clone(),
                    spec: *spec,
                });
            }
            if !names.insert(name.as_str()) {
                return Err(LayoutError::Name { name: name.clone() });
            }
        }
        let mut hash = Xxh3::new();
        hash.update(&model.0);
        for (name, spec) in &slots {
            // Debug text would tie the identity to how types are printed.
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            for number in numbers(spec) {
                hash.update(&number.to_le_bytes());
            }
        }
        let id = hash.digest128().to_be_bytes();
        Ok(Self { slots, model, id })
    }

    /// Names and sizes, in the order in which the model numbers its slots.
    #[must_use]
    pub fn slots(&self) -> &[(String, SlotSpec)] {
        &self.slots
    }

    /// The model that states of this layout belong to.
    #[must_use]
    pub fn model(&self) -> Fingerprint {
        self.model
    }

    /// Hash of the model and of every slot: states can be exchanged exactly
    /// when their layouts' ids are equal.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Bytes of a state that no context length changes.
    #[must_use]
    pub fn fixed_bytes(&self) -> u64 {
        self.bytes(0)
    }

    /// Bytes that each further token of context costs, as long as no window
    /// is full: zero without attention layers.
    #[must_use]
    pub fn bytes_per_token(&self) -> u64 {
        self.slots
            .iter()
            .map(|(_, spec)| spec.page_bytes() / PAGE as u64)
            .sum()
    }

    /// Bytes of a state after `position` tokens. Attention grows by whole
    /// pages, and a window bounds it.
    #[must_use]
    pub fn bytes(&self, position: u64) -> u64 {
        self.slots.iter().fold(0, |sum: u64, (_, spec)| {
            sum.saturating_add(spec.bytes_at(position))
        })
    }
}

/// A spec as numbers that determine it, for hashing.
fn numbers(spec: &SlotSpec) -> [u64; 6] {
    match *spec {
        SlotSpec::Conv { channels, d_conv } => [0, channels as u64, d_conv as u64, 0, 0, 0],
        SlotSpec::Scan { len, ty } => [1, len as u64, ty.bytes(), 0, 0, 0],
        SlotSpec::Kv { shape, ty, window } => [
            2,
            shape.kv_heads as u64,
            shape.head_dim as u64,
            PAGE as u64,
            ty.bytes(),
            window.map_or(0, |window| window as u64),
        ],
    }
}

/// No slot is empty, and none exceeds half the address space.
fn possible(spec: &SlotSpec) -> bool {
    let fits = |parts: &[usize]| {
        let product = parts
            .iter()
            .try_fold(8usize, |product, &part| product.checked_mul(part));
        product.is_some_and(|bytes| bytes > 0 && isize::try_from(bytes).is_ok())
    };
    match *spec {
        // A convolution of one tap remembers nothing, but is a convolution.
        SlotSpec::Conv { channels, d_conv } => fits(&[channels, d_conv]),
        SlotSpec::Scan { len, .. } => fits(&[len]),
        SlotSpec::Kv { shape, window, .. } => {
            let padded = shape.head_dim.checked_add(15);
            window != Some(0)
                && shape.head_dim > 0
                && padded.is_some_and(|padded| fits(&[shape.kv_heads, padded, PAGE, 2]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_before_the_window_are_not_live() {
        assert_eq!(live_pages(0, None), (0, 0));
        assert_eq!(live_pages(64, None), (0, 1));
        assert_eq!(live_pages(65, None), (0, 2));
        // The query at 128 with window 65 sees 64..=128.
        assert_eq!(live_pages(128, Some(65)), (1, 2));
        assert_eq!(live_pages(128, Some(66)), (0, 2));
        assert_eq!(live_pages(128, Some(1)), (2, 2));
        assert_eq!(live_pages(u64::MAX, Some(1)).1, u64::MAX / 64 + 1);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let layout = |spec| Layout::new(Fingerprint::of(b""), vec![("a".into(), spec)]);
        assert!(
            layout(SlotSpec::Scan {
                len: 0,
                ty: StateType::F32
            })
            .is_err()
        );
        assert!(
            layout(SlotSpec::Scan {
                len: usize::MAX / 2,
                ty: StateType::F32
            })
            .is_err()
        );
        assert!(
            layout(SlotSpec::Conv {
                channels: usize::MAX,
                d_conv: 4
            })
            .is_err()
        );
        let shape = KvShape {
            kv_heads: 1,
            head_dim: usize::MAX,
        };
        assert!(
            layout(SlotSpec::Kv {
                shape,
                ty: StateType::F32,
                window: None
            })
            .is_err()
        );
        let shape = KvShape {
            kv_heads: 1,
            head_dim: 16,
        };
        assert!(
            layout(SlotSpec::Kv {
                shape,
                ty: StateType::F32,
                window: Some(0)
            })
            .is_err()
        );
        assert!(
            layout(SlotSpec::Kv {
                shape,
                ty: StateType::F32,
                window: Some(1)
            })
            .is_ok()
        );
    }

    #[test]
    fn ids_tell_layouts_apart() {
        let id = |name: &str, len, ty| {
            let slots = vec![(name.to_owned(), SlotSpec::Scan { len, ty })];
            Layout::new(Fingerprint::of(b"m"), slots).unwrap().id()
        };
        assert_eq!(id("a", 4, StateType::F32), id("a", 4, StateType::F32));
        assert_ne!(id("a", 4, StateType::F32), id("a", 4, StateType::Bf16));
        assert_ne!(id("a", 4, StateType::F32), id("b", 4, StateType::F32));
    }
}
