//! Lengths of time as people write them on a command line.

use std::time::Duration;

/// Reads `20s`, `500ms`, `1.5m`, `2h`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is no length of time; expected a number with a unit, such as 500ms, 20s, 5m or 2h");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_length_of_time() {
        for (text, millis) in [("500ms", 500), ("20s", 20_000), ("1.5m", 90_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "20", "s", "-1s", "1 s", "1d", "1.2.3s", "9e9h", &format!("{}h", "9".repeat(400))] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
