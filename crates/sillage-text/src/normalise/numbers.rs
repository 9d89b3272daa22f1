//! Numbers as words.

use crate::Accent;

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = [
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
const SCALES: [&str; 12] = [
    "",
    "thousand",
    "million",
    "billion",
    "trillion",
    "quadrillion",
    "quintillion",
    "sextillion",
    "septillion",
    "octillion",
    "nonillion",
    "decillion",
];

/// Longer numbers are read digit by digit.
const LONGEST: usize = 36;

/// A whole number of any length, given by its digits: *one hundred (and) five*.
pub(crate) fn cardinal(digits: &str, accent: Accent) -> String {
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return "zero".to_owned();
    }
    if significant.len() > LONGEST {
        return each(digits);
    }
    let groups: Vec<u32> = significant.as_bytes().rchunks(3).map(group).collect();
    let mut words: Vec<&str> = Vec::new();
    for (scale, &value) in groups.iter().enumerate().rev() {
        if value == 0 {
            continue;
        }
        let last_small = scale == 0 && value < 100 && groups.len() > 1;
        if last_small && accent == Accent::Gb {
            words.push("and");
        }
        below_thousand(value, accent, &mut words);
        if scale > 0 {
            words.push(SCALES[scale]);
        }
    }
    words.join(" ")
}

fn group(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
}

fn below_thousand(value: u32, accent: Accent, words: &mut Vec<&str>) {
    let (hundreds, rest) = ((value / 100) as usize, (value % 100) as usize);
    if hundreds > 0 {
        words.extend([ONES[hundreds], "hundred"]);
        if rest > 0 && accent == Accent::Gb {
            words.push("and");
        }
    }
    if rest >= 20 {
        words.push(TENS[rest / 10]);
    }
    if rest > 0 && (rest < 20 || rest % 10 > 0) {
        words.push(ONES[if rest < 20 { rest } else { rest % 10 }]);
    }
}

/// *First*, *twenty second*, *one hundredth*.
pub(crate) fn ordinal(digits: &str, accent: Accent) -> String {
    let words = cardinal(digits, accent);
    let (head, last) = words
        .rsplit_once(' ')
        .map_or(("", words.as_str()), |(head, last)| (head, last));
    let last = match last {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        other => other
            .strip_suffix('y')
            .map_or_else(|| format!("{other}th"), |stem| format!("{stem}ieth")),
    };
    if head.is_empty() {
        last
    } else {
        format!("{head} {last}")
    }
}

/// *Nineteen oh five*, *two thousand (and) five*, *twenty ten*.
pub(crate) fn year(value: u32, accent: Accent) -> String {
    let (high, low) = (value / 100, value % 100);
    if !(1000..10_000).contains(&value) || (high % 10 == 0 && low < 10) {
        return cardinal(&value.to_string(), accent);
    }
    let high = cardinal(&high.to_string(), accent);
    match low {
        0 => format!("{high} hundred"),
        1..=9 => format!("{high} oh {}", ONES[low as usize]),
        _ => format!("{high} {}", cardinal(&low.to_string(), accent)),
    }
}

/// Digit by digit: *one zero five*.
pub(crate) fn each(digits: &str) -> String {
    let words: Vec<&str> = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|b| ONES[usize::from(b - b'0')])
        .collect();
    words.join(" ")
}

/// Digit by digit as in telephone numbers, where Britons say *oh*.
pub(crate) fn telephone(digits: &str, accent: Accent) -> String {
    let words = each(digits);
    if accent == Accent::Gb {
        words.replace("zero", "oh")
    } else {
        words
    }
}

/// A whole number with a fraction: *three point one four*.
pub(crate) fn decimal(whole: &str, fraction: &str, accent: Accent) -> String {
    if fraction.is_empty() {
        return cardinal(whole, accent);
    }
    let head = if whole.is_empty() {
        String::new()
    } else {
        cardinal(whole, accent) + " "
    };
    format!("{head}point {}", each(fraction))
}

/// The name of the nth part, and its plural; `None` where *over* is said.
pub(crate) fn part(denominator: u32, many: bool, accent: Accent) -> Option<String> {
    let name = match denominator {
        0 | 1 => return None,
        2 => return Some(if many { "halves" } else { "half" }.to_owned()),
        4 => "quarter".to_owned(),
        3 | 5..=20 | 25 | 30 | 32 | 40 | 50 | 60 | 64 | 100 | 128 | 1000 => {
            ordinal(&denominator.to_string(), accent)
        }
        _ => return None,
    };
    Some(if many { name + "s" } else { name })
}

/// *Nineties*, from 90; *hundreds* and *thousands* as they are.
pub(crate) fn plural(words: &str) -> String {
    if let Some(stem) = words.strip_suffix('y') {
        format!("{stem}ies")
    } else if words.ends_with('x') {
        format!("{words}es")
    } else {
        format!("{words}s")
    }
}

/// The value of a roman numeral written properly, up to 3999.
pub(crate) fn roman(text: &str) -> Option<u32> {
    const PARTS: [(&str, u32); 13] = [
        ("M", 1000),
        ("CM", 900),
        ("D", 500),
        ("CD", 400),
        ("C", 100),
        ("XC", 90),
        ("L", 50),
        ("XL", 40),
        ("X", 10),
        ("IX", 9),
        ("V", 5),
        ("IV", 4),
        ("I", 1),
    ];
    let mut rest = text;
    let mut value = 0;
    for (sign, worth) in PARTS {
        let mut times = 0;
        while let Some(tail) = rest.strip_prefix(sign) {
            times += 1;
            if times > 3
                || (sign.len() == 2 && times > 1)
                || (matches!(sign, "D" | "L" | "V") && times > 1)
            {
                return None;
            }
            rest = tail;
            value += worth;
        }
    }
    (rest.is_empty() && value > 0).then_some(value)
}
