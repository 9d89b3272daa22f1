//! Characters brought into the alphabet that the rules know: plain letters, straight quotes, no
//! invisible signs. Letters of scripts that no English reading has are passed over.

/// What a character is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    One(char),
    Text(&'static str),
    /// Invisible or a mark on the letter before it.
    Nothing,
    /// A letter of another script.
    Foreign,
}

/// The plain form of one character.
pub(crate) fn plain(c: char) -> Plain {
    if c.is_ascii() {
        return if c.is_ascii_control() {
            Plain::Nothing
        } else {
            Plain::One(c)
        };
    }
    match c {
        '’' | '‘' | 'ʼ' | '‛' | '´' | '′' | 'ʻ' => Plain::One('\''),
        '“' | '”' | '„' | '«' | '»' | '‟' | '″' | '‹' | '›' | '「' | '」' => {
            Plain::One('"')
        }
        '\u{2010}' | '\u{2011}' | '\u{FE63}' => Plain::One('-'),
        '\u{2012}' => Plain::One('–'),
        '\u{2044}' | '\u{2215}' => Plain::One('/'),
        '。' | '．' => Plain::One('.'),
        '、' => Plain::One(','),
        '\u{AD}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' => Plain::Nothing,
        '\u{80}'..='\u{9F}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{E0000}'..='\u{E0FFF}'
        | '\u{FFF9}'..='\u{FFFD}' => Plain::Nothing,
        '\u{300}'..='\u{36F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{20D0}'..='\u{20FF}' => Plain::Nothing,
        '\u{FF01}'..='\u{FF5E}' => shifted(c, 0xFEE0),
        'ﬀ' => Plain::Text("ff"),
        'ﬁ' => Plain::Text("fi"),
        'ﬂ' => Plain::Text("fl"),
        'ﬃ' => Plain::Text("ffi"),
        'ﬄ' => Plain::Text("ffl"),
        '\u{1D400}'..='\u{1D7FF}' => mathematical(c),
        'À'..='ɏ' | 'Ḁ'..='ỿ' => latin(c),
        'Α'..='ω' | 'ϕ' | 'ϵ' => Plain::One(c),
        _ if c.is_alphabetic() => Plain::Foreign,
        _ if c.is_numeric() => digit(c),
        _ => Plain::One(c),
    }
}

fn shifted(c: char, by: u32) -> Plain {
    char::from_u32(u32::from(c) - by).map_or(Plain::Nothing, Plain::One)
}

/// Bold, italic, script and other letters that mathematics borrows: five dozen alphabets in a row.
fn mathematical(c: char) -> Plain {
    let at = u32::from(c) - 0x1D400;
    let code = if at < 0x2A4 {
        let letter = at % 52;
        if letter < 26 {
            u32::from(b'A') + letter
        } else {
            u32::from(b'a') + letter - 26
        }
    } else if at >= 0x3CE {
        u32::from(b'0') + (at - 0x3CE) % 10
    } else {
        return Plain::Foreign;
    };
    char::from_u32(code).map_or(Plain::Nothing, Plain::One)
}

fn digit(c: char) -> Plain {
    match c {
        '½' | '¼' | '¾' | '⅓' | '⅔' | '⅛' | '⅜' | '⅝' | '⅞' | '⅕' | '⅖' | '⅗' | '⅘' | '⅙' | '⅚'
        | '²' | '³' | '¹' => Plain::One(c),
        '⁰' | '⁴'..='⁹' => Plain::One(c),
        '₀'..='₉' => shifted(c, 0x2080 - 0x30),
        '①'..='⑨' => shifted(c, 0x2460 - 0x31),
        '٠'..='٩' => shifted(c, 0x660 - 0x30),
        '०'..='९' => shifted(c, 0x966 - 0x30),
        _ => Plain::Foreign,
    }
}

/// Letters with accents, by the blocks of Unicode that hold them: base letters in their order.
fn latin(c: char) -> Plain {
    let special = match c {
        'Æ' => "AE",
        'æ' => "ae",
        'Œ' => "OE",
        'œ' => "oe",
        'ß' => "ss",
        'ẞ' => "SS",
        'Þ' => "Th",
        'þ' => "th",
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǆ' | 'ǅ' => "Dz",
        'ǆ' => "dz",
        'Ǉ' | 'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' | 'ǋ' => "Nj",
        'ǌ' => "nj",
        '×' => return Plain::One('×'),
        '÷' => return Plain::One('÷'),
        _ => "",
    };
    if !special.is_empty() {
        return Plain::Text(special);
    }
    base(c).map_or(Plain::Foreign, Plain::One)
}

/// (first, last, base letters of the range, one for each character in turn).
const BLOCKS: &[(char, &str)] = &[
    (
        'À',
        "AAAAAA.CEEEEIIIIDNOOOOO.OUUUUY..aaaaaa.ceeeeiiiidnooooo.ouuuuy.y",
    ),
    (
        'Ā',
        "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi..JjKkkLlLlLlLlLlNnNnNn.NnOoOoOo..RrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs",
    ),
    ('Ɓ', "BBb...CcDDDd.EEEFf"),
    ('Ơ', "Oo"),
    ('Ư', "Uu"),
    (
        'Ǎ',
        "AaIiOoUuUuUuUuUueAaAa..GgGgKkOoOo..j...GgHWNnAa..OoAaAaEeEeIiIiOoOoRrRrUuUuSsTt",
    ),
    (
        'Ḁ',
        "AaBbBbBbCcDdDdDdDdDdEeEeEeEeEeFfGgHhHhHhHhHhIiIiKkKkKkLlLlLlLlMmMmMmNnNnNnNnOoOoOoOoPpPpRrRrRrRrSsSsSsSsSsTtTtTtTtUuUuUuUuUuVvVvWwWwWwWwWwXxXxYyZzZzZzhtwyas",
    ),
    (
        'Ạ',
        "AaAaAaAaAaAaAaAaAaAaAaAaEeEeEeEeEeEeEeEeIiIiOoOoOoOoOoOoOoOoOoOoOoOoUuUuUuUuUuUuUuYyYyYyYy",
    ),
];

fn base(c: char) -> Option<char> {
    let (first, letters) = BLOCKS.iter().rev().find(|(first, _)| *first <= c)?;
    let at = usize::try_from(u32::from(c) - u32::from(*first)).ok()?;
    letters
        .as_bytes()
        .get(at)
        .map(|&byte| char::from(byte))
        .filter(|&letter| letter != '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_come_off() {
        let text = "ÀÉîõüÿ Çñ Łódź Žižek Škoda Đorđe Ağrı Ṣaḥīḥ Việt Nguyễn";
        let bare: String = text
            .chars()
            .map(|c| match plain(c) {
                Plain::One(c) => c.to_string(),
                Plain::Text(text) => text.to_owned(),
                Plain::Nothing | Plain::Foreign => "?".to_owned(),
            })
            .collect();
        assert_eq!(
            bare,
            "AEiouy Cn Lodz Zizek Skoda Dorde Agri Sahih Viet Nguyen"
        );
    }
}
