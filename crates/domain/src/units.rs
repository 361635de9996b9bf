use crate::Value;

/// 2^53: every integer below it is a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value as an integer in units of 10^-scale, exactly.
///
/// A double must be the one nearest to n / 10^scale with |n| < 2^53; the same rule holds in every language.
/// None where the value is not such a number: NaN, infinite, too many decimals, too great, or not a number at all.
pub fn units_of(value: &Value, scale: u32) -> Option<i64> {
    let factor = 10_i64.checked_pow(scale)?;
    match *value {
        Value::I64(n) => n.checked_mul(factor).filter(|n| (n.unsigned_abs() as f64) < EXACT_MAX),
        Value::U64(n) => i64::try_from(n).ok()?.checked_mul(factor).filter(|n| (*n as f64) < EXACT_MAX),
        Value::F64(x) => {
            let n = (x * factor as f64).round();
            // The comparison is false for NaN, and the division tells whether x is the double nearest to n / factor.
            (n.abs() < EXACT_MAX && n / factor as f64 == x).then_some(n as i64)
        }
        _ => None,
    }
}

/// Units of 10^-scale as people write them: "-12.50", "1234".
pub fn format_units(units: i64, scale: u32) -> String {
    if scale == 0 {
        return units.to_string();
    }
    let factor = 10_u64.pow(scale.min(19));
    let sign = if units < 0 { "-" } else { "" };
    let absolute = units.unsigned_abs();
    format!("{sign}{}.{:0width$}", absolute / factor, absolute % factor, width = scale as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_exact_or_refused() {
        assert_eq!(units_of(&Value::F64(0.1), 2), Some(10));
        assert_eq!(units_of(&Value::F64(1.1), 2), Some(110));
        assert_eq!(units_of(&Value::F64(-0.29), 2), Some(-29));
        assert_eq!(units_of(&Value::F64(4.35), 2), Some(435));
        assert_eq!(units_of(&Value::F64(-0.0), 2), Some(0));
        for refused in [0.001, 0.1 + 0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 90_071_992_547_409.92, 1e300] {
            assert_eq!(units_of(&Value::F64(refused), 2), None, "{refused}");
        }
        assert_eq!(units_of(&Value::F64(9_007_199_254_740_991.0 / 100.0), 2), Some(9_007_199_254_740_991));
        assert_eq!(units_of(&Value::F64(5e-324), 2), None);
    }

    #[test]
    fn every_cent_is_its_own() {
        for cents in (-2_000_000_i64..2_000_000).step_by(7) {
            let x: f64 = format_units(cents, 2).parse().expect("a number");
            assert_eq!(units_of(&Value::F64(x), 2), Some(cents), "{x}");
        }
    }

    #[test]
    fn integers_are_scaled_and_bounded() {
        assert_eq!(units_of(&Value::I64(-3), 2), Some(-300));
        assert_eq!(units_of(&Value::I64(i64::MAX), 0), None);
        assert_eq!(units_of(&Value::U64(u64::MAX), 0), None);
        assert_eq!(units_of(&Value::Text("1".into()), 0), None);
    }

    #[test]
    fn text_has_the_places_of_the_scale() {
        assert_eq!(format_units(-1250, 2), "-12.50");
        assert_eq!(format_units(5, 2), "0.05");
        assert_eq!(format_units(1234, 0), "1234");
        assert_eq!(format_units(i64::MIN, 9), "-9223372036.854775808");
    }
}
