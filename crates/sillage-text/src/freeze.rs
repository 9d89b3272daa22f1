//! A reader's place in its text as bytes, and back.

use std::time::Duration;

use crate::{FrontEnd, Reader, TextError, tagger::History};

const MAGIC: &[u8; 8] = b"SLGTEXT1";

impl Reader {
    /// Everything that the reader remembers, as bytes: what it has not read yet and where it
    /// stands. The tables are not in it.
    #[must_use]
    pub fn freeze(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend((self.offset as u64).to_le_bytes());
        out.push(u8::from(self.fresh));
        out.extend(self.speed.to_le_bytes());
        out.extend(self.volume.to_le_bytes());
        out.extend(
            u64::try_from(self.pause.as_nanos())
                .unwrap_or(u64::MAX)
                .to_le_bytes(),
        );
        for word in self.history.words() {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.pending.as_bytes());
        out
    }
}

impl FrontEnd {
    /// A reader that goes on where a frozen one stood.
    ///
    /// # Errors
    /// [`TextError::Frozen`] if these bytes are not from [`Reader::freeze`].
    pub fn resume(&self, frozen: &[u8]) -> Result<Reader, TextError> {
        self.thaw(frozen).ok_or(TextError::Frozen)
    }

    fn thaw(&self, frozen: &[u8]) -> Option<Reader> {
        let mut rest = frozen.strip_prefix(MAGIC)?;
        let mut reader = self.reader();
        reader.offset = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
        let [fresh] = take(&mut rest)?;
        reader.fresh = fresh == 1;
        reader.speed = f32::from_le_bytes(take(&mut rest)?);
        reader.volume = f32::from_le_bytes(take(&mut rest)?);
        reader.pause = Duration::from_nanos(u64::from_le_bytes(take(&mut rest)?));
        let mut words = [0; 8];
        for word in &mut words {
            *word = u32::from_le_bytes(take(&mut rest)?);
        }
        reader.history = History::from_words(words);
        reader.pending = std::str::from_utf8(rest).ok()?.to_owned();
        let sound = fresh < 2
            && (0.5..=2.0).contains(&reader.speed)
            && (0.5..=2.0).contains(&reader.volume)
            && reader.offset.checked_add(reader.pending.len()).is_some()
            && reader.pause < Duration::from_secs(1 << 20);
        sound.then_some(reader)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
