//! Writing a state.

use super::file::{Durability, write_atomically};
use super::header::{Header, TokensHeader};
use super::{
    HEADER_LIMIT, MAGIC, PREAMBLE, PREAMBLE_HASHED, Precision, StateFileError, TRAILER, VERSION,
};
use crate::bits::{self, Hashing};
use crate::snapshot::Snapshot;
use crate::state::Values;
use std::io::{self, Write};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// What was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether bits were given up, now or before: a state resumed from this
    /// file then continues approximately.
    pub lossy: bool,
}

/// Everything before the payload, ready to be written.
struct Plan {
    head: Vec<u8>,
    payload: u64,
    lossy: bool,
}

impl Plan {
    fn new(snapshot: &Snapshot, precision: Precision) -> Result<Self, StateFileError> {
        let state = snapshot.state();
        let rounds = precision == Precision::Bf16
            && state
                .arrays()
                .any(|values| matches!(values, Values::F32(values) if !values.is_empty()));
        let header = Header {
            model: state.layout().model(),
            position: snapshot.position(),
            precision,
            lossy: rounds || snapshot.is_lossy(),
            tokens: snapshot.tokens().map(tokens_header),
            meta: snapshot.meta().entries.clone(),
            slots: Header::slots_of(state),
        };
        let impossible = |why: &str| StateFileError::Header(why.to_owned());
        let payload = header
            .payload_bytes()
            .ok_or_else(|| impossible("sizes overflow"))?;
        let json = serde_json::to_vec(&header).map_err(|e| impossible(&e.to_string()))?;
        let len = u32::try_from(json.len())
            .ok()
            .filter(|&len| len <= HEADER_LIMIT);
        let len = len.ok_or(StateFileError::MetaTooLong {
            found: json.len() as u64,
        })?;
        let mut head = Vec::with_capacity(PREAMBLE + json.len());
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(&payload.to_le_bytes());
        debug_assert_eq!(head.len(), PREAMBLE_HASHED);
        let mut hash = Xxh3::new();
        hash.update(&head);
        hash.update(&json);
        head.extend_from_slice(&hash.digest().to_le_bytes());
        head.extend_from_slice(&json);
        Ok(Self {
            head,
            payload,
            lossy: header.lossy,
        })
    }

    fn bytes(&self) -> u64 {
        self.head.len() as u64 + self.payload + TRAILER as u64
    }

    fn saved(&self) -> Saved {
        Saved {
            bytes: self.bytes(),
            lossy: self.lossy,
        }
    }

    fn write(&self, snapshot: &Snapshot, precision: Precision, out: impl Write) -> io::Result<()> {
        let mut out = Hashing::new(out);
        out.write_all(&self.head)?;
        if let Some(tokens) = snapshot.tokens() {
            bits::write_u32(&mut out, tokens)?;
        }
        for values in snapshot.state().arrays() {
            match (values, precision) {
                (Values::F32(values), Precision::Exact) => bits::write_f32(&mut out, values)?,
                (Values::F32(values), Precision::Bf16) => {
                    bits::write_f32_as_bf16(&mut out, values)?
                }
                (Values::Bf16(values), _) => bits::write_u16(&mut out, values)?,
            }
        }
        debug_assert_eq!(out.count, self.bytes() - TRAILER as u64);
        let sum = out.hash.digest128();
        out.inner.write_all(&sum.to_le_bytes())?;
        out.inner.flush()
    }
}

fn tokens_header(tokens: &[u32]) -> TokensHeader {
    let mut out = Hashing::new(io::sink());
    // A sink takes everything, so there is no error to pass on.
    let _ = bits::write_u32(&mut out, tokens);
    TokensHeader {
        count: tokens.len() as u64,
        hash: out.hash.digest(),
    }
}

pub(crate) fn file_bytes(snapshot: &Snapshot, precision: Precision) -> Result<u64, StateFileError> {
    Ok(Plan::new(snapshot, precision)?.bytes())
}

pub(crate) fn write_to(
    snapshot: &Snapshot,
    out: impl Write,
    precision: Precision,
) -> Result<Saved, StateFileError> {
    let plan = Plan::new(snapshot, precision)?;
    let written = plan.write(snapshot, precision, out);
    written.map_err(|source| StateFileError::write(source, plan.bytes()))?;
    Ok(plan.saved())
}

pub(crate) fn save(
    snapshot: &Snapshot,
    path: &Path,
    precision: Precision,
    durability: Durability,
) -> Result<Saved, StateFileError> {
    let plan = Plan::new(snapshot, precision)?;
    let written = write_atomically(path, durability, |file| {
        plan.write(snapshot, precision, file)
    });
    written.map_err(|source| StateFileError::write(source, plan.bytes()))?;
    Ok(plan.saved())
}
