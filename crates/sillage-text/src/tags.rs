//! Parts of speech, as far as the readings of words depend on them.

/// A part of speech. The names are those of the Penn Treebank.
#[allow(clippy::upper_case_acronyms, missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Tag {
    NN,
    NNS,
    NNP,
    VB,
    VBP,
    VBZ,
    VBD,
    VBN,
    VBG,
    MD,
    JJ,
    RB,
    RP,
    IN,
    TO,
    DT,
    PRP,
    POS,
    CC,
    CD,
    WH,
    EX,
    UH,
    /// Punctuation.
    PCT,
}

impl Tag {
    /// All tags, in the order of the recipe's list.
    pub(crate) const ALL: [Self; 24] = [
        Self::NN,
        Self::NNS,
        Self::NNP,
        Self::VB,
        Self::VBP,
        Self::VBZ,
        Self::VBD,
        Self::VBN,
        Self::VBG,
        Self::MD,
        Self::JJ,
        Self::RB,
        Self::RP,
        Self::IN,
        Self::TO,
        Self::DT,
        Self::PRP,
        Self::POS,
        Self::CC,
        Self::CD,
        Self::WH,
        Self::EX,
        Self::UH,
        Self::PCT,
    ];

    pub(crate) fn is_verb(self) -> bool {
        matches!(
            self,
            Self::VB | Self::VBP | Self::VBZ | Self::VBD | Self::VBN | Self::VBG
        )
    }

    pub(crate) fn is_noun(self) -> bool {
        matches!(self, Self::NN | Self::NNS | Self::NNP)
    }
}
