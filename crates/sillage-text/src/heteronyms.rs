//! Words whose reading parts of speech alone do not tell, and verbs that the tagger takes for nouns.

use crate::{Accent, tags::Tag};

/// The words around one, in lower case; empty beyond the ends of the stretch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) two_before: &'a str,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    /// First of its stretch.
    pub(crate) first: bool,
}

/// Words after an order: *Record **the** song.*
const OBJECTS: &[&str] = &[
    "the",
    "a",
    "an",
    "my",
    "your",
    "his",
    "her",
    "our",
    "their",
    "its",
    "this",
    "that",
    "these",
    "those",
    "it",
    "me",
    "him",
    "us",
    "them",
    "each",
    "every",
    "all",
    "some",
    "any",
    "yourself",
    "everything",
];

/// Words before a verb.
const SUBJECTS: &[&str] = &["i", "you", "we", "they"];
const HELPERS: &[&str] = &[
    "to",
    "will",
    "would",
    "can",
    "could",
    "should",
    "must",
    "may",
    "might",
    "shall",
    "don't",
    "didn't",
    "doesn't",
    "won't",
    "can't",
    "cannot",
    "wouldn't",
    "couldn't",
    "shouldn't",
    "let's",
    "please",
    "i'll",
    "we'll",
    "you'll",
    "they'll",
    "he'll",
    "she'll",
    "it'll",
    "i'd",
    "we'd",
    "they'd",
];

/// A better tag for a word that has a reading as a verb, where its neighbours make it one.
pub(crate) fn settle(tag: Tag, around: Around<'_>) -> Tag {
    if tag.is_verb() {
        return tag;
    }
    let order = around.first && OBJECTS.contains(&around.after);
    let helped =
        HELPERS.contains(&around.before) && !(around.before == "to" && around.after == "of");
    let plural =
        around.before.ends_with('s') && !around.before.ends_with("ss") && around.after.is_empty();
    if plural
        && tag == Tag::NN
        && matches!(
            around.two_before,
            "" | "these" | "those" | "most" | "many" | "some"
        )
    {
        return Tag::VBP;
    }
    if order || (helped && tag != Tag::RB) {
        Tag::VB
    } else if SUBJECTS.contains(&around.before) && tag.is_noun() && around.two_before != "and" {
        Tag::VBP
    } else {
        tag
    }
}

/// Which reading of a word its neighbours ask for; `None` leaves it to the dictionary.
pub(crate) fn sense(
    word: &str,
    tag: Tag,
    around: Around<'_>,
    accent: Accent,
) -> Option<&'static str> {
    let us = accent == Accent::Us;
    let pick =
        |american: &'static str, british: &'static str| Some(if us { american } else { british });
    let Around {
        two_before,
        before,
        after,
        ..
    } = around;
    match word {
        "lead" if !tag.is_verb() && metal(before, after) => pick("lˈɛd", "lˈɛd"),
        "bow" if bending(two_before, before, after) => pick("bˈW", "bˈW"),
        "bass" if !fishing(before, after) => pick("bˈAs", "bˈAs"),
        "content" if pleased(before, after) => pick("kəntˈɛnt", "kəntˈɛnt"),
        "minute" if TINY.contains(&after) => pick("mInˈut", "mInjˈuːt"),
        "row" if quarrel(two_before, before, after) => pick("ɹˈW", "ɹˈW"),
        "rows" if matches!(before, "blazing" | "family" | "angry" | "furious" | "noisy") => {
            pick("ɹˈWz", "ɹˈWz")
        }
        "dove"
            if matches!(after, "into" | "under" | "off" | "in" | "down" | "for")
                && !matches!(before, "a" | "the" | "white") =>
        {
            pick("dˈOv", "dˈQv")
        }
        "does" if matches!(before, "several" | "two" | "three" | "female" | "deer") => {
            pick("dˈOz", "dˈQz")
        }
        "number" if matches!(before, "grew" | "feel" | "felt" | "getting") => {
            pick("nˈʌməɹ", "nˈʌmə")
        }
        "resume" | "resumes"
            if matches!(before, "my" | "your" | "his" | "her" | "a" | "the") && !tag.is_verb() =>
        {
            if word == "resume" {
                pick("ɹˈɛzəmˌA", "ɹˈɛzjʊmˌA")
            } else {
                pick("ɹˈɛzəmˌAz", "ɹˈɛzjʊmˌAz")
            }
        }
        _ => None,
    }
}

/// Very small, before these.
const TINY: &[&str] = &[
    "detail",
    "details",
    "amount",
    "amounts",
    "quantity",
    "quantities",
    "particle",
    "particles",
    "difference",
    "differences",
    "examination",
    "fraction",
    "fractions",
    "trace",
    "traces",
    "change",
    "changes",
    "size",
    "fragments",
    "attention",
    "scale",
];

fn metal(before: &str, after: &str) -> bool {
    const AFTER: &[&str] = &[
        "pipe",
        "pipes",
        "paint",
        "poisoning",
        "poison",
        "weight",
        "weights",
        "bullet",
        "bullets",
        "battery",
        "batteries",
        "acid",
        "levels",
        "exposure",
        "shot",
        "pencil",
        "pencils",
        "crystal",
        "glass",
        "roof",
        "plate",
        "plates",
        "balloon",
        "mine",
        "mines",
        "ore",
        "soldier",
        "soldiers",
        "sheet",
        "sheets",
        "lined",
        "free",
        "contamination",
        "shielding",
        "oxide",
        "solder",
        "content",
        "dust",
        "coffin",
    ];
    const BEFORE: &[&str] = &[
        "molten",
        "heavy",
        "like",
        "melted",
        "liquid",
        "grey",
        "gray",
        "contains",
        "containing",
    ];
    AFTER.contains(&after)
        || (BEFORE.contains(&before) && !matches!(after, "to" | "the" | "role"))
        || (matches!(before, "of" | "into" | "and")
            && matches!(after, "and" | "is" | "melts" | "or")
            && before != after
            && before != "and")
}

fn bending(two_before: &str, before: &str, after: &str) -> bool {
    const KINDS: &[&str] = &[
        "deep",
        "low",
        "polite",
        "slight",
        "final",
        "formal",
        "little",
        "stiff",
        "courtly",
        "graceful",
        "starboard",
        "port",
        "ship's",
    ];
    (matches!(
        two_before,
        "took" | "take" | "takes" | "taking" | "made" | "makes" | "gave" | "with"
    ) && before == "a"
        && !matches!(after, "and" | "tie" | "string"))
        || KINDS.contains(&before)
        || (after == "of" && matches!(before, "the"))
        || matches!(after, "wave")
}

fn fishing(before: &str, after: &str) -> bool {
    matches!(
        before,
        "sea"
            | "striped"
            | "largemouth"
            | "smallmouth"
            | "caught"
            | "grilled"
            | "catch"
            | "fresh"
            | "baked"
            | "black"
            | "rock"
    ) || matches!(
        after,
        "fishing" | "swim" | "swam" | "lake" | "fish" | "pro" | "boat" | "season" | "lures"
    )
}

fn pleased(before: &str, after: &str) -> bool {
    const BEFORE: &[&str] = &[
        "am",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "feel",
        "felt",
        "feels",
        "seem",
        "seems",
        "seemed",
        "very",
        "quite",
        "perfectly",
        "so",
        "i'm",
        "he's",
        "she's",
        "they're",
        "we're",
        "you're",
        "not",
        "looked",
        "more",
        "never",
    ];
    BEFORE.contains(&before)
        && (after.is_empty()
            || matches!(
                after,
                "with" | "to" | "and" | "in" | "here" | "now" | "just" | "if" | "that"
            ))
}

fn quarrel(two_before: &str, before: &str, after: &str) -> bool {
    matches!(
        before,
        "blazing" | "furious" | "almighty" | "flaming" | "unholy" | "heated" | "diplomatic"
    ) || (matches!(two_before, "had" | "having" | "have" | "started")
        && matches!(before, "a" | "big" | "terrible")
        && matches!(after, "over" | "about" | "with" | ""))
}
