//! Segments of a path, as a server may read them.

/// Whether what follows a prefix leaves that prefix again, once a server has decoded the path.
///
/// Servers differ in what they take for a dot segment, so every reading counts: encoded dots, an encoded slash or a
/// backslash as a separator, and parameters behind a semicolon (`..;x`). Decoding is done once, as servers do.
pub(crate) fn climbs(prefix: &str, rest: &str) -> bool {
    // A prefix like `/a` grows into `/ax`: what it grows by is no segment of its own.
    let mut grows = !prefix.ends_with('/');
    let mut depth = 0_usize;
    for segment in rest.split('/') {
        let decoded = decode(segment);
        // A segment goes down by one at most, or an encoded slash would lend depth to servers that do not decode it.
        let mut goes_down = false;
        for part in decoded.split(|byte| b"/\\".contains(byte)).skip(usize::from(grows)) {
            match name(part) {
                b"" | b"." => {}
                b".." if goes_down => goes_down = false,
                b".." => match depth.checked_sub(1) {
                    Some(above) => depth = above,
                    None => return true,
                },
                _ => goes_down = true,
            }
        }
        depth += usize::from(goes_down && !grows);
        grows = false;
    }
    false
}

/// Whether the last segment is `.` or `..`, so that what is appended to it may make another one of it.
pub(crate) fn ends_in_dots(path: &str) -> bool {
    let decoded = decode(path.rsplit('/').next().unwrap_or_default());
    matches!(decoded.as_slice(), b"." | b"..")
}

/// A part without its parameters (RFC 3986 §3.3).
fn name(part: &[u8]) -> &[u8] {
    part.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Percent-decoded; what is no encoding stays as it is.
fn decode(segment: &str) -> Vec<u8> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let pair = if byte == b'%' { digit(ahead.next()).zip(digit(ahead.next())) } else { None };
        match pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(value) => {
                decoded.push(value);
                bytes = ahead;
            }
            None => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_climbs_when_any_server_would_say_so() {
        for path in [
            "..",
            "../x",
            "./../x",
            "a/../../x",
            "//../x",
            "%2e%2e/x",
            "%2E./x",
            "a/%2e%2e/..",
            "..;/x",
            "..;a=b/x",
            "%2e%2e%3bx/",
            "..\\x",
            "..%5cx",
            "..%2fx",
            "a%2f../../x",
            "a%2fb/../../x",
        ] {
            assert!(climbs("/", path), "{path}");
        }
        for path in [
            "",
            "x",
            "a/../x",
            "a/b/../../x",
            "...",
            "..a",
            "a..",
            "%2e%2",
            "%2e%2x",
            "%252e%252e/x",
            "%",
            "a//b",
            ";../x",
        ] {
            assert!(!climbs("/", path), "{path}");
        }
    }

    #[test]
    fn a_prefix_that_grows_is_left_by_the_first_way_up() {
        for rest in ["x/../y", "/../y", "x/./../y", "x%2f../y", "x/%2e%2e", "x%2fa/../.."] {
            assert!(climbs("/p", rest), "{rest}");
        }
        for rest in ["", "x", "../x", "x/y/../z", "/x/..", "x%2fa/y"] {
            assert!(!climbs("/p", rest), "{rest}");
        }
    }

    #[test]
    fn long_paths_are_read_once() {
        assert!(!climbs("/", &"a/".repeat(100_000)));
        assert!(climbs("/", &format!("{}{}", "a/".repeat(50_000), "../".repeat(50_001))));
    }

    #[test]
    fn only_the_last_segment_grows() {
        for (path, expected) in [("/", false), ("/a", false), ("/../a", false), ("/..", true), ("/a/%2e", true)] {
            assert_eq!(ends_in_dots(path), expected, "{path}");
        }
    }
}
