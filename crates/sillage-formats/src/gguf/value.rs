//! Metadata values.

use crate::error::FormatError;
use crate::gguf::GgufError;
use crate::gguf::cursor::Cursor;

/// A metadata value. The widths of numbers are not kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    String(String),
    /// A list.
    Array(Array),
}

/// A list of values of one kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Array {
    /// Integers.
    Integers(Vec<i64>),
    /// Floats (f64 are narrowed).
    Floats(Vec<f32>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Strings(Vec<String>),
}

/// A chat template or a vocabulary entry can be long, but not longer than the file.
const ANY: u64 = u64::MAX;

const ARRAY: u32 = 9;
const STRING: u32 = 8;

impl Value {
    pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, FormatError> {
        let kind = cursor.u32("the type of a metadata value")?;
        match kind {
            STRING => cursor.string("a metadata text", ANY).map(Self::String),
            ARRAY => Array::read(cursor, key).map(Self::Array),
            kind => scalar(cursor, key, kind),
        }
    }

    /// The value as an unsigned integer, if it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Unsigned(n) => Some(*n as f64),
            Self::Signed(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// The value as a truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self {
            Some(*b)
        } else {
            None
        }
    }

    /// The value as a text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self {
            Some(s)
        } else {
            None
        }
    }

    /// A short description for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Unsigned(n) => n.to_string(),
            Self::Signed(n) => n.to_string(),
            Self::Float(n) => n.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::String(s) => format!("'{}'", s.chars().take(48).collect::<String>()),
            Self::Array(_) => "a list".to_owned(),
        }
    }
}

fn scalar(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Result<Value, FormatError> {
    let what = "a metadata value";
    Ok(match kind {
        0 => Value::Unsigned(u64::from(cursor.array::<1>(what)?[0])),
        1 => Value::Signed(i64::from(i8::from_le_bytes(cursor.array(what)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(cursor.array(what)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(cursor.array(what)?))),
        4 => Value::Unsigned(u64::from(cursor.u32(what)?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(cursor.array(what)?))),
        6 => Value::Float(f64::from(f32::from_le_bytes(cursor.array(what)?))),
        7 => match cursor.array::<1>(what)?[0] {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            other => return Err(invalid(cursor, key, other.to_string())),
        },
        10 => Value::Unsigned(cursor.u64(what)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
        other => return Err(invalid(cursor, key, format!("type {other}"))),
    })
}

fn invalid(cursor: &Cursor<'_>, key: &str, found: String) -> FormatError {
    cursor.error(GgufError::Invalid {
        what: format!("metadata key '{key}'"),
        found,
    })
}

/// Bytes of an element, at least, for checking a count before the list is read.
fn least_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        STRING | 10..=12 => Some(8),
        _ => None,
    }
}

impl Array {
    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, FormatError> {
        let kind = cursor.u32("the type of a metadata list")?;
        let count = cursor.u64("the length of a metadata list")?;
        let Some(each) = least_bytes(kind) else {
            return Err(invalid(cursor, key, format!("a list of type {kind}")));
        };
        cursor.fits("a metadata list", count, each)?;
        let mut array = match kind {
            STRING => Self::Strings(Vec::new()),
            6 | 12 => Self::Floats(Vec::new()),
            7 => Self::Bools(Vec::new()),
            _ => Self::Integers(Vec::new()),
        };
        for _ in 0..count {
            match &mut array {
                Self::Strings(list) => list.push(cursor.string("a metadata text", ANY)?),
                other => other.push(scalar(cursor, key, kind)?),
            }
        }
        Ok(array)
    }

    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Integers(list), Value::Unsigned(n)) => {
                list.push(i64::try_from(n).unwrap_or(i64::MAX))
            }
            (Self::Integers(list), Value::Signed(n)) => list.push(n),
            (Self::Floats(list), Value::Float(n)) => list.push(n as f32),
            (Self::Bools(list), Value::Bool(b)) => list.push(b),
            // The element type is fixed for a list, so nothing else can come.
            _ => {}
        }
    }
}
