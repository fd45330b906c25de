//! Templates: text in which `{name}` stands for a value.

/// Puts values into a template. A name is 1 to 32 small letters; what `value` does not know stays as it is written, braces and
/// all. Values are escaped for HTML: some of them are what a stranger sent.
pub fn fill<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let length = after.bytes().take_while(u8::is_ascii_lowercase).take(LONGEST + 1).count();
        let (name, behind) = after.split_at(length);
        match behind.strip_prefix('}').filter(|_| (1..=LONGEST).contains(&length)).zip(value(name)) {
            Some((behind, value)) => {
                escape(value, &mut out);
                rest = behind;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

/// Letters of the longest name.
const LONGEST: usize = 32;

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
    fn a_value_is_not_a_template_and_breaks_out_of_nothing() {
        let value = |name: &str| (name == "url").then_some("{url}\"'<script>&");
        assert_eq!(fill("<a href=\"{url}\">", value), "<a href=\"{url}&quot;&#39;&lt;script&gt;&amp;\">");
    }
}
