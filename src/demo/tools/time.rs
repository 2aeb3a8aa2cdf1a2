//! Tells the time at an offset from UTC.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde_json::{Value, json};

/// The time `unix_ms` at `offset`, such as `+02:00`; UTC if there is none.
///
/// # Errors
/// What is wrong with the offset, for the caller to read.
pub(super) fn tell(offset: Option<&str>, unix_ms: u64) -> Result<Value, String> {
    let offset = offset.unwrap_or("Z");
    let zone = seconds(offset)
        .and_then(FixedOffset::east_opt)
        .ok_or_else(|| format!("`offset` cannot be `{offset}`; it is Z or like +02:00"))?;
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .ok_or("the clock of this machine is far off")?
        .with_timezone(&zone);
    Ok(json!({
        "time": time.to_rfc3339_opts(SecondsFormat::Millis, true),
        "weekday": time.format("%A").to_string(),
        "unix_ms": unix_ms,
    }))
}

/// Seconds east of Greenwich of `Z`, `+hh:mm` or `+hhmm`.
fn seconds(offset: &str) -> Option<i32> {
    let mut characters = offset.chars().filter(|character| *character != ':');
    let sign = match characters.next()? {
        'Z' => return characters.next().is_none().then_some(0),
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits: Vec<u32> = characters
        .map(|character| character.to_digit(10))
        .collect::<Option<_>>()?;
    let [h1, h2, m1, m2] = digits.try_into().ok()?;
    let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
    // Samoa and Kiribati are the farthest, at +14:00.
    let valid = minutes < 60 && hours * 60 + minutes <= 14 * 60;
    valid.then(|| sign * i32::try_from(hours * 3600 + minutes * 60).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_turns_with_the_offset() {
        // 2024-02-29 23:30 UTC.
        let leap_day = 1_709_249_400_000;
        for (offset, time, weekday) in [
            (None, "2024-02-29T23:30:00.000Z", "Thursday"),
            (Some("+02:00"), "2024-03-01T01:30:00.000+02:00", "Friday"),
            (Some("-0330"), "2024-02-29T20:00:00.000-03:30", "Thursday"),
        ] {
            let told = tell(offset, leap_day).unwrap();
            assert_eq!(told["time"], time);
            assert_eq!(told["weekday"], weekday);
        }
    }

    #[test]
    fn what_is_no_offset_is_said_so() {
        for offset in ["", "UTC", "+2", "+02:60", "+99:00", "Z0", "+02:00:00", "+૦૨:૦૦"] {
            assert!(tell(Some(offset), 0).unwrap_err().contains("offset"), "{offset}");
        }
    }
}
