//! Units of measure.

use crate::Accent;

/// Sign, one, many. American spellings; British voices say them the same.
const UNITS: &[(&str, &str, &str)] = &[
    ("km", "kilometer", "kilometers"),
    ("m", "meter", "meters"),
    ("cm", "centimeter", "centimeters"),
    ("mm", "millimeter", "millimeters"),
    ("µm", "micrometer", "micrometers"),
    ("μm", "micrometer", "micrometers"),
    ("nm", "nanometer", "nanometers"),
    ("mi", "mile", "miles"),
    ("yd", "yard", "yards"),
    ("yds", "yards", "yards"),
    ("ft", "foot", "feet"),
    ("in", "inch", "inches"),
    ("\"", "inch", "inches"),
    ("kg", "kilogram", "kilograms"),
    ("g", "gram", "grams"),
    ("mg", "milligram", "milligrams"),
    ("µg", "microgram", "micrograms"),
    ("μg", "microgram", "micrograms"),
    ("mcg", "microgram", "micrograms"),
    ("lb", "pound", "pounds"),
    ("lbs", "pound", "pounds"),
    ("oz", "ounce", "ounces"),
    ("t", "ton", "tons"),
    ("l", "liter", "liters"),
    ("L", "liter", "liters"),
    ("ml", "milliliter", "milliliters"),
    ("mL", "milliliter", "milliliters"),
    ("cl", "centiliter", "centiliters"),
    ("dl", "deciliter", "deciliters"),
    ("gal", "gallon", "gallons"),
    ("qt", "quart", "quarts"),
    ("pt", "pint", "pints"),
    ("tbsp", "tablespoon", "tablespoons"),
    ("tsp", "teaspoon", "teaspoons"),
    ("ha", "hectare", "hectares"),
    ("ac", "acre", "acres"),
    ("h", "hour", "hours"),
    ("hr", "hour", "hours"),
    ("hrs", "hours", "hours"),
    ("min", "minute", "minutes"),
    ("mins", "minutes", "minutes"),
    ("s", "second", "seconds"),
    ("sec", "second", "seconds"),
    ("secs", "seconds", "seconds"),
    ("ms", "millisecond", "milliseconds"),
    ("µs", "microsecond", "microseconds"),
    ("μs", "microsecond", "microseconds"),
    ("ns", "nanosecond", "nanoseconds"),
    ("yr", "year", "years"),
    ("yrs", "years", "years"),
    ("mo", "month", "months"),
    ("wk", "week", "weeks"),
    ("wks", "weeks", "weeks"),
    ("Hz", "hertz", "hertz"),
    ("kHz", "kilohertz", "kilohertz"),
    ("MHz", "megahertz", "megahertz"),
    ("GHz", "gigahertz", "gigahertz"),
    ("W", "watt", "watts"),
    ("kW", "kilowatt", "kilowatts"),
    ("MW", "megawatt", "megawatts"),
    ("GW", "gigawatt", "gigawatts"),
    ("kWh", "kilowatt hour", "kilowatt hours"),
    ("MWh", "megawatt hour", "megawatt hours"),
    ("Wh", "watt hour", "watt hours"),
    ("V", "volt", "volts"),
    ("mV", "millivolt", "millivolts"),
    ("kV", "kilovolt", "kilovolts"),
    ("A", "amp", "amps"),
    ("mA", "milliamp", "milliamps"),
    ("mAh", "milliamp hour", "milliamp hours"),
    ("Ω", "ohm", "ohms"),
    ("J", "joule", "joules"),
    ("kJ", "kilojoule", "kilojoules"),
    ("cal", "calorie", "calories"),
    ("kcal", "kilocalorie", "kilocalories"),
    ("N", "newton", "newtons"),
    ("Pa", "pascal", "pascals"),
    ("kPa", "kilopascal", "kilopascals"),
    ("hPa", "hectopascal", "hectopascals"),
    ("psi", "p s i", "p s i"),
    ("dB", "decibel", "decibels"),
    ("mol", "mole", "moles"),
    ("kb", "kilobit", "kilobits"),
    ("kB", "kilobyte", "kilobytes"),
    ("KB", "kilobyte", "kilobytes"),
    ("MB", "megabyte", "megabytes"),
    ("GB", "gigabyte", "gigabytes"),
    ("TB", "terabyte", "terabytes"),
    ("PB", "petabyte", "petabytes"),
    ("KiB", "kibibyte", "kibibytes"),
    ("MiB", "mebibyte", "mebibytes"),
    ("GiB", "gibibyte", "gibibytes"),
    ("Mb", "megabit", "megabits"),
    ("Gb", "gigabit", "gigabits"),
    ("kbps", "kilobit per second", "kilobits per second"),
    ("kbit", "kilobit", "kilobits"),
    ("Mbit", "megabit", "megabits"),
    ("Mbps", "megabit per second", "megabits per second"),
    ("Gbps", "gigabit per second", "gigabits per second"),
    ("mph", "mile per hour", "miles per hour"),
    ("kph", "kilometer per hour", "kilometers per hour"),
    ("kmh", "kilometer per hour", "kilometers per hour"),
    ("fps", "frame per second", "frames per second"),
    ("rpm", "revolution per minute", "revolutions per minute"),
    ("bpm", "beat per minute", "beats per minute"),
    ("dpi", "dot per inch", "dots per inch"),
    ("ppm", "part per million", "parts per million"),
    ("mpg", "mile per gallon", "miles per gallon"),
    ("cc", "cubic centimeter", "cubic centimeters"),
    ("px", "pixel", "pixels"),
    ("pct", "percent", "percent"),
    ("%", "percent", "percent"),
    ("‰", "per mille", "per mille"),
    ("°", "degree", "degrees"),
    ("º", "degree", "degrees"),
    ("°C", "degree Celsius", "degrees Celsius"),
    ("ºC", "degree Celsius", "degrees Celsius"),
    ("℃", "degree Celsius", "degrees Celsius"),
    ("°F", "degree Fahrenheit", "degrees Fahrenheit"),
    ("ºF", "degree Fahrenheit", "degrees Fahrenheit"),
    ("℉", "degree Fahrenheit", "degrees Fahrenheit"),
    ("°N", "degree north", "degrees north"),
    ("°S", "degree south", "degrees south"),
    ("°E", "degree east", "degrees east"),
    ("°W", "degree west", "degrees west"),
];

/// Signs that are units only when they touch their number.
const ATTACHED_ONLY: &[&str] = &[
    "in", "\"", "t", "A", "N", "b", "B", "pt", "mo", "ac", "W", "V", "J", "L", "h",
];

/// The words for a unit written right after a number, or after a space.
pub(crate) fn unit(sign: &str, attached: bool, one: bool, accent: Accent) -> Option<String> {
    if !attached && ATTACHED_ONLY.contains(&sign) {
        return None;
    }
    let simple = |sign: &str, one: bool| {
        UNITS
            .iter()
            .find(|(known, ..)| *known == sign)
            .map(|(_, single, many)| (if one { *single } else { *many }).to_owned())
    };
    if let Some(words) = simple(sign, one) {
        return Some(words);
    }
    if let Some((top, bottoms)) = sign.split_once('/') {
        let mut words = powered(top, one).or_else(|| word(top))?;
        for bottom in bottoms.split('/') {
            words = format!(
                "{words} per {}",
                powered(bottom, true).or_else(|| word(bottom))?
            );
        }
        return Some(words);
    }
    let _ = accent;
    powered(sign, one)
}

/// A plain word in the place of a unit: *requests/s*.
fn word(text: &str) -> Option<String> {
    (text.len() > 2 && text.bytes().all(|b| b.is_ascii_lowercase())).then(|| text.to_owned())
}

/// *m²*, *ft3*, or a unit alone.
fn powered(sign: &str, one: bool) -> Option<String> {
    let (stem, power) = match sign.strip_suffix(['²', '2']) {
        Some(stem) => (stem, "square "),
        None => sign
            .strip_suffix(['³', '3'])
            .map_or((sign, ""), |stem| (stem, "cubic ")),
    };
    let stem = stem.trim_end_matches('^');
    let found = UNITS
        .iter()
        .find(|(known, ..)| *known == stem && !known.contains(['%', '"']))?;
    Some(format!("{power}{}", if one { found.1 } else { found.2 }))
}
