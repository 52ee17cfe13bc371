//! Durations, as people write them.

use std::time::Duration;

/// A duration such as `5`, `0.5`, `5s` or `1m 30s`. A bare number is one of seconds, as for flock(1) and timeout(1).
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    };
    parsed.map_err(|error| format!("{error}: write 5 or 0.5 for seconds, or 500ms, 5s, 1m30s, 2h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_need_no_unit() {
        for (text, milliseconds) in
            [("5", 5000), ("0", 0), ("0.5", 500), ("5s", 5000), ("1m30s", 90_000), ("1m 30s", 90_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "soon", "-1", "inf", "nan", "5x", "1e400"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("write 5 or 0.5 for seconds"), "{text}: {error}");
        }
    }
}
