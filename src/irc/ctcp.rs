//! CTCP: `/me`, and the questions that clients ask each other inside messages.
//!
//! To answer another question, add it to [`answer`] and to CLIENTINFO.
//! <https://modern.ircdocs.horse/ctcp>

use crate::model::Millis;

/// A message with CTCP framing: its command and argument. The closing `\x01` may be missing, as it may be cut off.
#[must_use]
pub fn parse(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('\x01')?;
    let inner = inner.strip_suffix('\x01').unwrap_or(inner);
    Some(inner.split_once(' ').unwrap_or((inner, "")))
}

/// A `/me` with its framing.
#[must_use]
pub fn action(text: &str) -> String {
    format!("\x01ACTION {text}\x01")
}

/// What to answer to a question, framed for a NOTICE; `None` for what isn't answered.
#[must_use]
pub fn answer(command: &str, argument: &str, now: Millis) -> Option<String> {
    let words = match command.to_ascii_uppercase().as_str() {
        "VERSION" => format!("VERSION Footbridge {}", env!("CARGO_PKG_VERSION")),
        "CLIENTINFO" => "CLIENTINFO ACTION CLIENTINFO PING TIME VERSION".to_owned(),
        "TIME" => format!("TIME {}", utc(now)),
        // A longer argument is somebody's attempt to have us say it.
        "PING" if argument.len() <= 64 => format!("PING {argument}"),
        _ => return None,
    };
    Some(format!("\x01{}\x01", words.replace('\x01', "")))
}

/// A time as `2011-10-19T16:40:51.620Z`, the form of server-time.
#[must_use]
pub fn utc(at: Millis) -> String {
    let (days, millis) = (at.div_euclid(86_400_000), at.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The time in a `time` tag (<https://ircv3.net/specs/extensions/server-time>); `None` if it isn't one.
#[must_use]
pub fn server_time(value: &[u8]) -> Option<Millis> {
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(digits);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let millis = digits(fraction.get(..3).unwrap_or(fraction))? * [1, 100, 10, 1][fraction.len().min(3)];
    valid.then(|| (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

fn digits(text: &str) -> Option<i64> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is
/// a year's last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
        - 719_469
}

/// The inverse of [`days`].
fn civil(since_epoch: i64) -> (i64, i64, i64) {
    let mut year = 1970 + since_epoch.div_euclid(366);
    while days(year + 1, 1, 1) <= since_epoch {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= since_epoch).unwrap_or(1);
    (year, month, since_epoch - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn framing_is_read_even_when_its_end_is_cut_off() {
        assert_eq!(parse("\x01ACTION waves\x01"), Some(("ACTION", "waves")));
        assert_eq!(parse("\x01ACTION waves"), Some(("ACTION", "waves")));
        assert_eq!(parse("\x01VERSION\x01"), Some(("VERSION", "")));
        assert_eq!(parse("\x01"), Some(("", "")));
        assert_eq!(parse("plain \x01x\x01"), None);
        assert_eq!(parse(&action("waves")), Some(("ACTION", "waves")));
    }

    #[test]
    fn questions_are_answered_within_limits() {
        assert!(answer("version", "", 0).unwrap().starts_with("\x01VERSION Footbridge "));
        assert_eq!(answer("PING", "12 34", 0).unwrap(), "\x01PING 12 34\x01");
        assert_eq!(answer("PING", &"x".repeat(65), 0), None);
        assert_eq!(answer("TIME", "", 1_700_000_000_000).unwrap(), "\x01TIME 2023-11-14T22:13:20.000Z\x01");
        assert_eq!(answer("DCC", "SEND x", 0), None);
        assert_eq!(answer("", "", 0), None);
    }

    #[test]
    fn server_time_is_read_or_left_alone() {
        assert_eq!(server_time(b"2011-10-19T16:40:51.620Z"), Some(1_319_042_451_620));
        assert_eq!(server_time(b"1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(server_time(b"2024-02-29T00:00:00.5Z"), Some(1_709_164_800_500));
        for bad in
            ["", "Z", "2011-10-19", "2011-13-19T16:40:51.620Z", "2011-10-19T16:40Z", "-1-1-1T1:1:1Z", "T:Z", "9-9T9:9Z"]
        {
            assert_eq!(server_time(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_being_written_and_read(at in 0_i64..253_402_300_800_000) {
            prop_assert_eq!(server_time(utc(at).as_bytes()), Some(at));
        }

        #[test]
        fn no_bytes_are_too_odd_for_a_time(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = server_time(&bytes);
        }
    }
}
