//! Text in pieces, phrases out as soon as they are certain.

use std::{sync::Arc, time::Duration};

use crate::{
    Accent, Dictionary, Phrase, TextError,
    letters::Letters,
    lexicon::Lexicon,
    markup::{self, Block, Markup},
    normalise::{self, ChunkKind, Kind, Token, chunk::chunks},
    phones,
    phrase::{Source, phrases},
    pronounce::Speaker,
    say::Voice,
    split::{self, End},
    tagger::{History, Tagger},
};

/// Reads English of one accent: dictionary, rules, tagger and letters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FrontEnd {
    voice: Arc<Voice>,
    dictionary: Arc<Dictionary>,
}

impl FrontEnd {
    /// Unpacks the built-in tables of an accent (about 20 ms, 10 MB).
    ///
    /// # Errors
    /// [`TextError::Table`] if the library was built from damaged files.
    pub fn new(accent: Accent) -> Result<Self, TextError> {
        let speaker = Speaker {
            accent,
            lexicon: Lexicon::load(accent)?,
            letters: Letters::load()?,
        };
        let voice = Voice {
            speaker,
            tagger: Tagger::load()?,
        };
        Ok(Self {
            voice: Arc::new(voice),
            dictionary: Arc::default(),
        })
    }

    /// The same with a dictionary of the user's own, which comes first.
    #[must_use]
    pub fn with_dictionary(&self, dictionary: Dictionary) -> Self {
        Self {
            voice: Arc::clone(&self.voice),
            dictionary: Arc::new(dictionary),
        }
    }

    /// The accent.
    #[must_use]
    pub fn accent(&self) -> Accent {
        self.voice.speaker.accent
    }

    /// A reader at the start of a text.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            front: self.clone(),
            pending: String::new(),
            offset: 0,
            history: History::default(),
            fresh: true,
            speed: 1.0,
            volume: 1.0,
            pause: Duration::ZERO,
            failed: None,
        }
    }

    /// All phrases of a text.
    ///
    /// # Errors
    /// The first mistake in the text's markup.
    pub fn phrases(&self, text: &str) -> Result<Vec<Phrase>, TextError> {
        let mut reader = self.reader();
        let mut out = reader.push(text)?;
        out.extend(reader.finish()?);
        Ok(out)
    }

    /// The words that are spoken for a text, in lower case and without marks.
    ///
    /// # Errors
    /// The first mistake in the text's markup.
    pub fn normalise(&self, text: &str) -> Result<String, TextError> {
        let mut reader = self.reader();
        reader.pending.push_str(text);
        let mut words = Vec::new();
        while let Some(stretch) = reader.next_stretch(true)? {
            words.push(normalise::plain_words(&reader.tokens(&stretch)));
        }
        Ok(words
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(" "))
    }

    /// The phonemes of a text as one string.
    ///
    /// # Errors
    /// The first mistake in the text's markup.
    pub fn phonemize(&self, text: &str) -> Result<String, TextError> {
        let phrases = self.phrases(text)?;
        Ok(phrases
            .iter()
            .map(Phrase::phonemes)
            .collect::<String>()
            .trim_end()
            .to_owned())
    }
}

/// A text on its way: takes pieces of any size, gives phrases as soon as nothing that may follow
/// can change them. A clone goes on from the same place.
///
/// Every way of cutting a text into pieces gives the same phrases.
#[derive(Debug, Clone)]
pub struct Reader {
    front: FrontEnd,
    /// What has not become phrases yet.
    pub(crate) pending: String,
    /// Bytes before it.
    pub(crate) offset: usize,
    pub(crate) history: History,
    /// At the start of a sentence.
    pub(crate) fresh: bool,
    pub(crate) speed: f32,
    pub(crate) volume: f32,
    pub(crate) pause: Duration,
    failed: Option<TextError>,
}

/// A piece of text that is read at once.
#[derive(Debug)]
struct Stretch {
    text: String,
    offset: usize,
    end: End,
}

impl Reader {
    /// Takes the next piece of the text; returns the phrases that are now certain.
    ///
    /// # Errors
    /// A mistake in the markup. The reader then stays where it is and repeats the error.
    pub fn push(&mut self, piece: &str) -> Result<Vec<Phrase>, TextError> {
        self.pending.push_str(piece);
        self.advance(false)
    }

    /// Says that the text is complete; returns its last phrases. The reader is then at the start
    /// of a new sentence and may be used on.
    ///
    /// # Errors
    /// A mistake in the markup.
    pub fn finish(&mut self) -> Result<Vec<Phrase>, TextError> {
        let mut out = self.advance(true)?;
        if self.pause > Duration::ZERO {
            out.push(Phrase {
                units: Vec::new(),
                words: Vec::new(),
                sentence_start: self.fresh,
                sentence_end: self.fresh,
                speed: self.speed,
                volume: self.volume,
                pause_before: std::mem::take(&mut self.pause),
            });
        }
        self.fresh = true;
        self.history = History::default();
        Ok(out)
    }

    /// Bytes of text that have become phrases.
    #[must_use]
    pub fn position(&self) -> usize {
        self.offset
    }

    /// Bytes of text that wait for what follows them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn advance(&mut self, last: bool) -> Result<Vec<Phrase>, TextError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut out = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_str();
        let result = loop {
            match self.next_of(&mut rest, last) {
                Ok(Some(stretch)) => {
                    if let Err(error) = self.speak(&stretch, &mut out) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.pending = rest.to_owned();
        if let Err(error) = result {
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(out)
    }

    /// The next stretch of what is pending, for callers that do not speak it.
    fn next_stretch(&mut self, last: bool) -> Result<Option<Stretch>, TextError> {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_str();
        let found = self.next_of(&mut rest, last);
        self.pending = rest.to_owned();
        found
    }

    /// Takes the next stretch off `rest`, obeying the tags before it.
    fn next_of(&mut self, rest: &mut &str, last: bool) -> Result<Option<Stretch>, TextError> {
        loop {
            let trimmed = rest.trim_start();
            self.offset += rest.len() - trimmed.len();
            *rest = trimmed;
            if rest.is_empty() {
                return Ok(None);
            }
            if rest.starts_with('<') {
                match markup::at(rest, None, last, self.offset)? {
                    Markup::More => return Ok(None),
                    Markup::Block(length, block) => {
                        self.obey(block);
                        self.offset += length;
                        *rest = &rest[length..];
                        continue;
                    }
                    Markup::Text | Markup::Inline(..) => {}
                }
            }
            let Some((length, end)) = split::find(rest, last, self.offset)? else {
                return Ok(None);
            };
            let (text, tail) = rest.split_at(length);
            let stretch = Stretch {
                text: text.to_owned(),
                offset: self.offset,
                end,
            };
            self.offset += length;
            *rest = tail;
            return Ok(Some(stretch));
        }
    }

    fn obey(&mut self, block: Block) {
        match block {
            Block::Break(time) => self.pause += time,
            Block::Speed(ratio) => self.speed = ratio,
            Block::Volume(ratio) => self.volume = ratio,
        }
    }

    fn tokens(&self, stretch: &Stretch) -> Vec<Token> {
        let speaker = &self.front.voice.speaker;
        normalise::read(
            &chunks(&stretch.text),
            speaker.accent,
            &speaker.lexicon,
            stretch.end == End::Paragraph,
        )
    }

    fn speak(&mut self, stretch: &Stretch, out: &mut Vec<Phrase>) -> Result<(), TextError> {
        let speaker = &self.front.voice.speaker;
        let chunks = chunks(&stretch.text);
        for chunk in chunks
            .iter()
            .filter(|chunk| chunk.kind == ChunkKind::Phones)
        {
            phones::parse(&chunk.core, speaker.accent).map_err(|found| {
                TextError::UnknownPhoneme {
                    offset: stretch.offset + chunk.span.start,
                    found,
                }
            })?;
        }
        let tokens = normalise::read(
            &chunks,
            speaker.accent,
            &speaker.lexicon,
            stretch.end == End::Paragraph,
        );
        let readings = self
            .front
            .voice
            .say(&tokens, &mut self.history, &self.front.dictionary);
        let other_mark = tokens
            .last()
            .is_some_and(|token| token.kind == Kind::Mark && token.text != "—");
        let spaced = stretch.text.ends_with(char::is_whitespace)
            || (other_mark && stretch.end == End::Clause);
        let source = Source {
            text: &stretch.text,
            offset: stretch.offset,
            chunks: &chunks,
            spaced,
        };
        let first = out.len();
        for mut phrase in phrases(&tokens, &readings, &source) {
            phrase.sentence_start = std::mem::take(&mut self.fresh);
            phrase.speed = self.speed;
            phrase.volume = self.volume;
            phrase.pause_before = std::mem::take(&mut self.pause);
            out.push(phrase);
        }
        if matches!(stretch.end, End::Sentence | End::Paragraph) {
            if let Some(phrase) = out[first..].last_mut() {
                phrase.sentence_end = true;
            }
            self.fresh = true;
            self.history = History::default();
        }
        Ok(())
    }
}
