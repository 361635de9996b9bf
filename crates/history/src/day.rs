use jiff::ToSpan;
use jiff::civil::Date;

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// The first and the last day that a date can be of: 0001-01-01 and 9999-12-31.
const DAYS: (i64, i64) = (-719_162, 2_932_896);

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The number of the UTC day that a moment lies in, from the Unix epoch.
pub(crate) fn day_of(time_us: i64) -> i64 {
    time_us.div_euclid(DAY_US)
}

/// The date of a day; none outside the years 1 to 9999.
pub(crate) fn date_of(day: i64) -> Option<Date> {
    (DAYS.0..=DAYS.1).contains(&day).then(|| EPOCH.saturating_add(day.days()))
}

/// The number of the day of that date.
pub(crate) fn day_at(date: Date) -> i64 {
    date.duration_since(EPOCH).as_hours() / 24
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_date_and_back() {
        for (day, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (10_957, "2000-01-01"),
            (20_413, "2025-11-21"),
            (DAYS.0, "0001-01-01"),
            (DAYS.1, "9999-12-31"),
        ] {
            let date = date_of(day).expect("a day of the calendar");
            assert_eq!(date.to_string(), text);
            assert_eq!(day_at(date), day);
        }
        assert_eq!(day_of(-1), -1);
        assert_eq!((date_of(DAYS.0 - 1), date_of(DAYS.1 + 1)), (None, None));
    }
}
