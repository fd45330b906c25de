//! When an authority wants to be asked again: in a header, or in a sentence.

use std::time::{Duration, SystemTime};

use crate::moment;

/// The value of `Retry-After` ([RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)): seconds or a date.
pub(crate) fn header(value: &str, now: SystemTime) -> Option<SystemTime> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok(),
    }
}

/// What the sentences of Let's Encrypt's limits say: `…, retry after 2026-11-24 04:05:06 UTC: see …`.
pub(crate) fn sentence(text: &str) -> Option<SystemTime> {
    let (_, rest) = text.split_once("retry after ")?;
    let (day, rest) = rest.split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    rest.starts_with("UTC").then(|| moment::parse(&format!("{day}T{time}Z")))?
}

/// The first address of a page in a sentence: where a limit is explained, or where a paused account is woken up.
pub(crate) fn link(text: &str) -> Option<&str> {
    let link = text.split_whitespace().find(|word| word.starts_with("https://"))?;
    Some(link.trim_end_matches(['.', ',', ';', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(header("120", now), Some(now + Duration::from_secs(120)));
        assert_eq!(header(" Fri, 15 Jan 2027 08:00:10 GMT ", now), Some(now + Duration::from_secs(10)));
        for wrong in ["", "-1", "soon", "18446744073709551615", "1.5"] {
            assert_eq!(header(wrong, now), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_sentence_of_a_limit_is_understood() {
        let text = "too many certificates (5) already issued for this exact set of domains in the last 168h0m0s, \
                    retry after 2027-01-15 08:00:10 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates";
        assert_eq!(sentence(text), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_010)));
        assert_eq!(link(text), Some("https://letsencrypt.org/docs/rate-limits/#new-certificates"));
        for wrong in
            ["", "retry after", "retry after a while", "retry after 2027-01-15 08:00:10", "retry after a b UTC"]
        {
            assert_eq!(sentence(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_link_of_a_pause_is_found() {
        let text = "Your account is temporarily prevented from requesting certificates for a.example and possibly others. \
                    Please visit: https://portal.example/sfe/v1/unpause?jwt=abc.def.";
        assert_eq!(link(text), Some("https://portal.example/sfe/v1/unpause?jwt=abc.def"));
        assert_eq!(link("no page"), None);
    }
}
