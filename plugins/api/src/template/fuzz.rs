//! Templates and values made at random (`cargo xtask fuzz template`).

use proptest::{
    prelude::{Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof,
};

use super::*;

const PIECES: &[&str] = &[
    "{",
    "}",
    "{{",
    "}}",
    "{url}",
    "{request}",
    "{unknown}",
    "{Url}",
    "{url",
    "url}",
    "{u rl}",
    "{}",
    "{empty}",
    "{url{url}}",
    "\u{e4}",
    " ",
    "text",
    "{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
    "{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
];
const VALUES: &[&str] =
    &["<", ">", "\"", "'", "&", "&lt;", "<script>", "{url}", "{request}", "{", "}", "x", "\u{e4}", "\0"];

fn joined(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(from), 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => any::<String>()]
}

/// The same, one character after the other.
fn reference<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let characters: Vec<char> = template.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < characters.len() {
        let end = characters[at..].iter().position(|character| *character == '}').map(|length| at + length);
        let name: String = end.map_or_else(String::new, |end| characters[at..end].iter().skip(1).collect());
        let is_name = characters[at] == '{'
            && (1..=32).contains(&name.len())
            && name.chars().all(|character| character.is_ascii_lowercase());
        match value(&name).filter(|_| is_name).zip(end) {
            Some((value, end)) => {
                let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                out.push_str(&value.replace('"', "&quot;").replace('\'', "&#39;"));
                at = end + 1;
            }
            None => {
                out.push(characters[at]);
                at += 1;
            }
        }
    }
    out
}

proptest::proptest! {
    /// Values are text, whatever is in them: no markup, no other value, no part of the template.
    #[test]
    fn values_stay_text(template in joined(PIECES), url in joined(VALUES), request in joined(VALUES)) {
        let value = |name: &str| match name {
            "url" => Some(&*url),
            "request" => Some(&*request),
            "empty" => Some(""),
            name if name.len() == 32 => Some("long"),
            _ => None,
        };
        let filled = fill(&template, value);
        prop_assert_eq!(&filled, &reference(&template, value));
        for markup in ['<', '>', '"', '\''] {
            let written = template.matches(markup).count();
            prop_assert_eq!(filled.matches(markup).count(), written, "{}", markup);
        }
        // Whoever decodes it has the value again.
        if !url.is_empty() {
            let alone = fill("{url}", value);
            let decoded = alone.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(decoded.replace("&amp;", "&"), url.clone());
            prop_assert!(!alone.contains(['<', '>', '"', '\'']));
        }
    }
}
