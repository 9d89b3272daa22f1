//! Where text comes from: an argument, a file, or a pipe that is read while speaking.

use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// Text is handed over in pieces of about this many bytes, so that reading never holds up speaking.
const PIECE: usize = 512;

/// What a source has at the moment.
pub(super) enum Piece {
    Text(String),
    /// No more will come.
    End,
    /// Nothing yet.
    None,
}

/// Text in pieces.
pub(super) struct Source {
    pieces: Receiver<Result<String>>,
    bytes: Option<u64>,
    ended: bool,
}

impl Source {
    pub(super) fn open(text: Option<&str>, file: Option<&Path>) -> Result<Self> {
        if let Some(text) = text {
            return Ok(Self::whole(text.to_owned()));
        }
        if let Some(path) = file {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                anyhow::anyhow!(
                    "{} is not UTF-8 text (byte {at}); convert it, for example with iconv",
                    path.display()
                )
            })?;
            return Ok(Self::whole(text));
        }
        if std::io::stdin().is_terminal() {
            eprintln!("Type what to say; end with Ctrl-D.");
        }
        Ok(Self::pipe(std::io::stdin()))
    }

    /// The next piece; with `wait`, only once there is one.
    pub(super) fn next(&mut self, wait: bool) -> Result<Piece> {
        if self.ended {
            return Ok(Piece::None);
        }
        let found = if wait {
            self.pieces.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.pieces.try_recv()
        };
        match found {
            Ok(text) => Ok(Piece::Text(text?)),
            Err(TryRecvError::Empty) => Ok(Piece::None),
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                Ok(Piece::End)
            }
        }
    }

    /// Bytes in all, where they are known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// A text that is there already, in pieces.
    pub(super) fn whole(text: String) -> Self {
        let bytes = Some(text.len() as u64);
        let (send, pieces) = channel();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let mut end = rest.len().min(PIECE);
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            let (head, tail) = rest.split_at(end);
            // The receiver is alive: it is returned below.
            let _ = send.send(Ok(head.to_owned()));
            rest = tail;
        }
        Source {
            pieces,
            bytes,
            ended: false,
        }
    }

    fn pipe(mut from: impl Read + Send + 'static) -> Self {
        let (send, pieces) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            let mut buffer = [0; PIECE];
            loop {
                let piece = match from.read(&mut buffer) {
                    Ok(0) if held.is_empty() => return,
                    Ok(0) => Err(anyhow::anyhow!(
                        "standard input ends within a UTF-8 character"
                    )),
                    Ok(count) => {
                        held.extend_from_slice(&buffer[..count]);
                        complete(&mut held)
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        Err(anyhow::Error::new(error).context("cannot read standard input"))
                    }
                };
                let failed = piece.is_err();
                if send.send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Source {
            pieces,
            bytes: None,
            ended: false,
        }
    }
}

/// The whole characters among the bytes read so far; the beginning of one more may stay behind.
fn complete(held: &mut Vec<u8>) -> Result<String> {
    let valid = match std::str::from_utf8(held) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bail!("standard input is not UTF-8 text; convert it, for example with iconv"),
    };
    let rest = held.split_off(valid);
    let whole = std::mem::replace(held, rest);
    String::from_utf8(whole).context("standard input is not UTF-8 text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn all(mut source: Source) -> Result<String> {
        let mut text = String::new();
        loop {
            match source.next(true)? {
                Piece::Text(piece) => text += &piece,
                Piece::End => return Ok(text),
                Piece::None => {}
            }
        }
    }

    #[test]
    fn text_arrives_whole_however_it_is_cut() {
        let text = "äöü 東京 ".repeat(1000);
        assert_eq!(all(Source::whole(text.clone())).unwrap(), text);
        assert_eq!(
            all(Source::pipe(Cursor::new(text.clone().into_bytes()))).unwrap(),
            text
        );
    }

    #[test]
    fn bad_utf8_is_told() {
        let error = all(Source::pipe(Cursor::new(vec![b'a', 0xff, b'b']))).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
        let error = all(Source::pipe(Cursor::new(vec![b'a', 0xe6]))).unwrap_err();
        assert!(
            error.to_string().contains("within a UTF-8 character"),
            "{error}"
        );
    }
}
