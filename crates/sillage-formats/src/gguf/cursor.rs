//! Reads the header in order, through a window, never past the end.

use crate::error::FormatError;
use crate::gguf::GgufError;
use crate::source::Source;

const WINDOW: u64 = 1 << 18;

pub(super) struct Cursor<'a> {
    source: &'a Source,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            at: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.at
    }

    pub(super) fn error(&self, source: GgufError) -> FormatError {
        FormatError::Gguf {
            file: self.source.name().to_owned(),
            source,
        }
    }

    fn overrun(&self, what: &'static str) -> FormatError {
        self.error(GgufError::Overrun { what, at: self.at })
    }

    /// Refuses a count of things that cannot fit into what is left of the file.
    pub(super) fn fits(
        &self,
        what: &'static str,
        count: u64,
        each: u64,
    ) -> Result<(), FormatError> {
        match count.checked_mul(each) {
            Some(bytes) if bytes <= self.source.len() - self.at => Ok(()),
            _ => Err(self.overrun(what)),
        }
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, what: &'static str, len: u64) -> Result<&[u8], FormatError> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.source.len());
        let end = end.ok_or_else(|| self.overrun(what))?;
        let window_end = self.window_at + self.window.len() as u64;
        if self.at < self.window_at || end > window_end {
            let size = len.max(WINDOW).min(self.source.len() - self.at);
            self.window = self.source.read_vec(self.at, size)?;
            self.window_at = self.at;
        }
        let start = (self.at - self.window_at) as usize;
        self.at = end;
        Ok(&self.window[start..start + len as usize])
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(what, N as u64)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn string(&mut self, what: &'static str, most: u64) -> Result<String, FormatError> {
        let len = self.u64(what)?;
        if len > most {
            return Err(self.overrun(what));
        }
        let bytes = self.take(what, len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                let found = String::from_utf8_lossy(bytes).chars().take(64).collect();
                Err(self.error(GgufError::Invalid {
                    what: format!("{what} (not UTF-8)"),
                    found,
                }))
            }
        }
    }
}
