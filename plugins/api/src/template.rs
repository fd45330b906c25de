//! Templates: text in which `{name}` stands for a value.

/// Puts values into a template. A name is 1 to 32 small letters; what `value` does not know stays as it is written, braces and
/// all. Values are escaped for HTML: some of them are what a stranger sent.
pub fn fill<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    String::from_utf8(fill_bytes(template.as_bytes(), value)).expect("pieces of text, put together at ASCII, are text")
}

/// The same for a template in any encoding that writes braces and letters like ASCII. What is between them stays byte by byte;
/// values are UTF-8.
pub fn fill_bytes<'v>(template: &[u8], value: impl Fn(&str) -> Option<&'v str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'{') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.extend_from_slice(before);
        let length = after.iter().take_while(|byte| byte.is_ascii_lowercase()).take(LONGEST + 1).count();
        let (name, behind) = after.split_at(length);
        let name = std::str::from_utf8(name).ok().filter(|_| (1..=LONGEST).contains(&length));
        match behind.strip_prefix(b"}").zip(name.and_then(&value)) {
            Some((behind, value)) => {
                escape(value, &mut out);
                rest = behind;
            }
            None => {
                out.push(b'{');
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            other => out.push(other),
        }
    }
}

/// Letters of the longest name.
const LONGEST: usize = 32;

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_and_everything_else_stays() {
        let long = "a".repeat(33);
        let cases = [
            ("", ""),
            ("no names", "no names"),
            ("{cause}", "Bad &lt;b&gt; Request"),
            ("a {cause} b {cause}", "a Bad &lt;b&gt; Request b Bad &lt;b&gt; Request"),
            ("{{cause}}", "{Bad &lt;b&gt; Request}"),
            ("{unknown} {empty}.", "{unknown} ."),
            ("{Cause} {cau se} {cause {}", "{Cause} {cau se} {cause {}"),
            ("}{", "}{"),
            ("{", "{"),
            ("{cause", "{cause"),
            ("ä{cause}ß", "äBad &lt;b&gt; Requestß"),
        ];
        let value = |name: &str| match name {
            "cause" => Some("Bad <b> Request"),
            "empty" => Some(""),
            _ if name == long => Some("never"),
            _ => None,
        };
        for (template, expected) in cases {
            assert_eq!(fill(template, value), expected, "{template}");
        }
        let template = format!("{{{long}}}");
        assert_eq!(fill(&template, value), template);
    }

    #[test]
    fn what_is_not_utf_8_stays_as_it_is() {
        let value = |name: &str| (name == "url").then_some("é");
        assert_eq!(fill_bytes(b"\xe9{url}\xff{\xe9}{url", value), b"\xe9\xc3\xa9\xff{\xe9}{url");
    }

    #[test]
    fn a_value_is_not_a_template_and_breaks_out_of_nothing() {
        let value = |name: &str| (name == "url").then_some("{url}\"'<script>&");
        assert_eq!(fill("<a href=\"{url}\">", value), "<a href=\"{url}&quot;&#39;&lt;script&gt;&amp;\">");
    }
}
