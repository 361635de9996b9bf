//! Quantities as people write and read them.

use std::time::Duration;

const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
const SIZES: [(&str, f64); 4] =
    [("B", 1.0), ("KiB", 1024.0), ("MiB", 1024.0 * 1024.0), ("GiB", 1024.0 * 1024.0 * 1024.0)];
const DURATION_S_MIN: f64 = 0.001;
const DURATION_S_MAX: f64 = 366.0 * 86_400.0;

/// A duration: `90s`, `5m`, `1h30m`, `1.5h`, `250ms`, `1d`; 1 ms at least and a year at most.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| Err(format!("{why}: write a number and ms, s, m, h or d, for example 90s, 5m or 1h30m"));
    let mut rest = text.trim();
    if rest.is_empty() {
        return wrong("a duration is missing");
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let Ok(number) = number.parse::<f64>() else { return wrong(&format!("{text:?} is no duration")) };
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let why = if unit.is_empty() { "has no unit" } else { "has an unknown unit" };
            return wrong(&format!("{text:?} {why}"));
        };
        seconds += number * factor;
        rest = after;
    }
    if !(DURATION_S_MIN..=DURATION_S_MAX).contains(&seconds) {
        return Err(format!("{text:?} is not between 1 ms and a year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A part of all, 0 to 1: `2%`, `0.5%`, or `0.02`.
pub(crate) fn part(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no part of all: write 0% to 100%, for example 2%");
    let part = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text.trim().parse::<f64>().map_err(|_| wrong())?,
    };
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err(wrong()) }
}

/// Events in a second, above 0.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.trim().replace(['_', ','], "").parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err(format!("{text:?} is no rate: write events in a second, above 0 and at most 10000000")),
    }
}

/// Bytes: `4096`, `64KiB`, `1.5MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no size: write a number and B, KiB, MiB or GiB, for example 64KiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<f64>().map_err(|_| wrong())?;
    let unit = unit.trim();
    let factor = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1.0,
        None => return Err(wrong()),
    };
    let bytes = number * factor;
    // Up to here every whole number is a double.
    if (1.0..=(1_i64 << 53) as f64).contains(&bytes) { Ok(bytes as i64) } else { Err(wrong()) }
}

/// Bytes for people: `1.5 MiB`.
pub(crate) fn spelled_size(bytes: u64) -> String {
    let bytes = bytes as f64;
    let (unit, factor) = SIZES.iter().rev().find(|(_, factor)| bytes >= *factor).unwrap_or(&SIZES[0]);
    let number = (bytes / factor * 10.0).round() / 10.0;
    format!("{number} {unit}")
}

/// Digits in groups of three: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration for people: `90 s` is `1m30s`.
pub(crate) fn spelled(duration: Duration) -> String {
    let millis = duration.as_millis();
    if !millis.is_multiple_of(1000) {
        return format!("{}s", millis as f64 / 1000.0);
    }
    let mut seconds = duration.as_secs();
    let mut text = String::new();
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        // A day is better known as 24h.
        if unit == "d" && seconds < 2 * length {
            continue;
        }
        if seconds >= length {
            text.push_str(&format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("1ms", 1),
            (" 24h ", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in [
            ("", "a duration is missing"),
            ("5", "\"5\" has no unit"),
            ("5 m", "\"5 m\" has no unit"),
            ("5 minutes", "has no unit"),
            ("5minutes", "has an unknown unit"),
            ("m", "\"m\" is no duration"),
            ("-5m", "\"-5m\" is no duration"),
            ("0s", "is not between 1 ms and a year"),
            ("0.5ms", "is not between 1 ms and a year"),
            ("1000d", "is not between 1 ms and a year"),
            ("1..5s", "is no duration"),
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_and_told_with_their_unit() {
        for (text, bytes) in [("4096", 4096), ("64KiB", 65_536), ("1.5 MiB", 1_572_864), ("1GiB", 1 << 30), ("7B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "0", "64KB", "64 kib", "-1", "99999999GiB", "1..5MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1_572_864, "1.5 MiB"), (5 << 30, "5 GiB")]
        {
            assert_eq!(spelled_size(bytes), text);
        }
    }

    #[test]
    fn parts_are_read_as_percent() {
        assert_eq!(part("2%"), Ok(0.02));
        assert_eq!(part("0.5 %"), Ok(0.005));
        assert_eq!(part("0.02"), Ok(0.02));
        for text in ["", "%", "101%", "-1%", "2", "two", "NaN"] {
            assert!(part(text).is_err(), "{text}");
        }
        assert!(rate("1,000").is_ok_and(|rate| rate == 1000.0));
        assert!(rate("0").is_err() && rate("inf").is_err() && rate("fast").is_err());
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let cases = [(90, "1m30s"), (300, "5m"), (3600, "1h"), (86_400, "24h"), (172_800, "2d"), (0, "0s")];
        for (seconds, text) in cases {
            assert_eq!(spelled(Duration::from_secs(seconds)), text);
        }
        assert_eq!(spelled(Duration::from_millis(1500)), "1.5s");
    }
}
