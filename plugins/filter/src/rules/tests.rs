//! Lists of patterns, and what they find: beside the C library of this system, which is what tinyproxy asks.

use std::{
    fmt::Write as _,
    fs, hint,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{config::Syntax, syntax::parse};

/// What came of looking for a pattern in a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Bad,
    Found,
    Absent,
}
use Outcome::{Absent, Bad, Found};

/// A pattern made ready, or that it is wrong; an error is what the library does and we do not.
pub(super) fn ready(syntax: Syntax, ignore_case: bool, pattern: &[u8]) -> Result<Option<Rules>, PatternError> {
    let mut builder = Builder::default();
    match parse(pattern, syntax, ignore_case) {
        Ok(pattern) => builder.add(pattern)?,
        Err(error @ (PatternError::Depth | PatternError::Size)) => return Err(error),
        Err(_) => return Ok(None),
    }
    builder.build().map(Some)
}

pub(super) fn look(rules: Option<&Rules>, ignore_case: bool, subject: &[u8]) -> Outcome {
    let subject = if ignore_case { subject.to_ascii_lowercase() } else { subject.to_vec() };
    match rules.map(|rules| rules.match_any(&subject, &mut Patience::new())) {
        None => Bad,
        Some(Answer::Yes) => Found,
        Some(Answer::No) => Absent,
        Some(Answer::Unknown) => panic!("nobody waits for {subject:?}"),
    }
}

/// A question: whether this pattern is found in this subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) syntax: Syntax,
    pub(super) ignore_case: bool,
    pub(super) pattern: &'a [u8],
    pub(super) subject: &'a [u8],
}

/// What the C library of this system says; `None` where it crashes.
fn theirs(questions: &[Question<'_>]) -> Vec<Option<Outcome>> {
    let (mut answers, mut crashes) = (Vec::with_capacity(questions.len()), 0);
    while let Some(rest) = questions.get(answers.len()..).filter(|rest| !rest.is_empty()) {
        let (some, died) = ask(rest);
        answers.extend(some.into_iter().map(Some));
        if answers.len() < questions.len() {
            // A reference into a group that is repeated is too much for some of its releases.
            assert!(died, "the reference says nothing more");
            crashes += 1;
            assert!(crashes < 10, "it crashes over and over: {:?}", questions[answers.len()]);
            answers.push(None);
        }
    }
    answers
}

/// Its answers until it is killed by a signal, and whether it was.
fn ask(questions: &[Question<'_>]) -> (Vec<Outcome>, bool) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference.py");
    let mut command = Command::new("python3");
    let mut process =
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is there");
    let (mut input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let line = |question: &Question<'_>| {
        let kind = format!("{:?}", question.syntax).to_lowercase();
        format!("{kind} {} {} {}\n", u8::from(question.ignore_case), hex(question.pattern), hex(question.subject))
    };
    let text: String = questions.iter().map(line).collect();
    let answers = thread::scope(|scope| {
        // It may die before it has read all.
        scope.spawn(move || drop(input.write_all(text.as_bytes())));
        let answers = BufReader::new(output).lines().map(|line| match &*line.unwrap() {
            "bad" => Bad,
            "yes" => Found,
            "no" => Absent,
            other => panic!("the reference says {other:?}"),
        });
        answers.collect::<Vec<_>>()
    });
    let status = process.wait().unwrap();
    assert!(status.success() || status.signal().is_some(), "{status}");
    (answers, !status.success())
}

/// How many answers were compared, and a line for each that differs.
pub(super) fn compare(questions: &[Question<'_>]) -> (usize, String) {
    let (mut wrong, mut compared) = (String::new(), 0);
    let mut last = None;
    for (question, theirs) in questions.iter().zip(theirs(questions)) {
        let Question { syntax, ignore_case, pattern, subject } = *question;
        let (_, rules) = match last.take().filter(|(of, _)| *of == (syntax, ignore_case, pattern)) {
            Some(last) => last,
            None => ((syntax, ignore_case, pattern), ready(syntax, ignore_case, pattern)),
        };
        let ours = rules.as_ref().ok().map(|rules| look(rules.as_ref(), ignore_case, subject));
        last = Some(((syntax, ignore_case, pattern), rules));
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        compared += 1;
        if ours != theirs {
            let (pattern, subject) = (String::from_utf8_lossy(pattern), String::from_utf8_lossy(subject));
            let _ = writeln!(wrong, "{syntax:?} {pattern:?} in {subject:?} ({ignore_case}): {ours:?}, not {theirs:?}");
        }
    }
    (compared, wrong)
}

/// Patterns that both languages and wildcards read differently, or that somebody could read differently.
const PATTERNS: &[&str] = &[
    "",
    "a",
    "A",
    "a.c",
    "a\\.c",
    "^a",
    "b$",
    "^abc$",
    "a^b",
    "a$b",
    "^*a",
    "*a",
    "\\(*a\\)",
    "(*a)",
    "a|b",
    "a\\|b",
    "|a",
    "a|",
    "a||b",
    "\\|a",
    "a\\|",
    "(|a)",
    "()",
    "\\(\\)",
    "()*",
    "(a)(b)",
    "\\(a\\)\\(b\\)",
    "(a",
    "a)",
    "\\(a",
    "a\\)",
    ")",
    "a+b",
    "a\\+b",
    "a?b",
    "a\\?b",
    "+a",
    "\\+a",
    "?a",
    "\\?a",
    "^+",
    "^?",
    "^\\+",
    "a**",
    "a*\\{2\\}",
    "a\\{2\\}*",
    "a+*",
    "a*+",
    "a??",
    "a\\+\\?",
    "a{2}",
    "a\\{2\\}",
    "a{,2}b",
    "a{2,}",
    "a{2,1}",
    "a{}",
    "a{,}",
    "a{x",
    "a{1",
    "a{1,2",
    "a{1}{2}",
    "a{32767}",
    "a{32768}",
    "a{99999999999}",
    "{1}",
    "\\{1\\}",
    "a{0}",
    "a{0}*",
    "a}",
    "}",
    "\\}",
    "{",
    "\\{",
    "a{1,2}{3,4}",
    "[abc]",
    "[^abc]",
    "[a-c]",
    "[c-a]",
    "[]a]",
    "[^]a]",
    "[]",
    "[^]",
    "[a",
    "[a-",
    "[a-]",
    "[-a]",
    "[a-c-e]",
    "[--a]",
    "[---]",
    "[a---]",
    "[%--]",
    "[[:alpha:]]",
    "[[:alpha:]-z]",
    "[a-[:digit:]]",
    "[[:upper:]]",
    "[[:lower:]]",
    "[^[:upper:]]",
    "[[:nope:]]",
    "[[:alpha:]",
    "[[:alpha",
    "[:alpha:]",
    "[[:a:]",
    "[[.a.]]",
    "[[=a=]]",
    "[[.a.]-c]",
    "[[=a=]-c]",
    "[[.-.]]",
    "[[.ab.]]",
    "[[.space.]]",
    "[a\\]",
    "[a\\]]",
    "[\\n]",
    "[\\-a]",
    "[Z-a]",
    "[_-z]",
    "[A-_]",
    "[Z-_]",
    "[!-a]",
    "[^!-a]",
    "[!a]",
    "[!a-c]",
    "[^a-c]",
    "[\\]]",
    "[\\]a]",
    "[a-\\c]",
    "[[]",
    "[[a]",
    "[a[]",
    "[]-a]",
    "[+--]",
    "[.-.]",
    "[a.-.]",
    "[*]",
    "[?]",
    "[/]",
    "[[:space:]]",
    "[[:digit:][:punct:]]",
    "[[:word:]]",
    "[[:ALPHA:]]",
    "[a-a]",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\b",
    "\\B",
    "\\<",
    "\\>",
    "\\`",
    "\\'",
    "\\ba",
    "a\\b",
    "\\Ba",
    "a\\B",
    "\\<ab\\>",
    "\\w\\+",
    "\\w+",
    "\\b*",
    "\\<*",
    "\\w*c",
    "\\.",
    "\\",
    "a\\",
    "\\\\",
    "\\n",
    "\\a",
    "\\#",
    "\\/",
    "\\-",
    "\\\"",
    "^^a",
    "a$$",
    "$a",
    "^$",
    "$^",
    "\\(^a\\)",
    "\\(a$\\)",
    "x\\|^a",
    "a$\\|x",
    "a\\(^b\\)",
    "\\(b$\\)a",
    "(^a)",
    "(a$)",
    "x*^a",
    "a*",
    ".*",
    "a.*c",
    "^.*c$",
    "*",
    "**",
    "?",
    "??",
    "a*c",
    "a?c",
    "*.c",
    "a[*",
    "*a*b*c*",
    "a\\*c",
    "a\\?",
    ".",
    "..",
    "(a|ab)(c|bcd)(d*)",
    "(a*)*",
    "(a*)+",
    "(a|b)*c",
    "((a)|(b))+$",
    "^(a|b)+$",
    "a{2}{3}",
    "(ab){2}",
    "\\(ab\\)\\{2\\}",
    "(^|\\.)abc$",
    "\\(^\\|\\.\\)abc$",
    "a#b",
    "ab/c",
    "[a/]b",
    "\\(a\\|b\\)*c",
    "\\(a*\\)*b",
    "\\(a\\)\\1",
    "(a)\\1",
    "(.)\\1",
    "^(.)(.)\\2\\1$",
    "\\(.\\)\\(.\\)\\1\\2",
    "(a)\\2",
    "\\1(a)",
    "(a\\1)",
    "(a)|\\1",
    "(a|b)*\\1c",
    "((a)|b)\\2",
    "(a*)\\1b",
    "^(a*)\\1$",
    "(a){2}\\1",
    "(a|(b))\\1",
    "\\(\\)\\1a",
    "(a)\\1*c",
    "(a)\\1{2}",
    "(a)b\\1b",
    "([ab]+)[^ab]\\1",
    "(a)(b)(c)(a)(b)(c)(a)(b)(c)(a)\\9",
    "\\0",
    "[\\1]",
    "(a)\\\\1",
    "(B)\\1",
    "\\<\\(a\\)\\1\\>",
    "a***********",
    "a+?*",
    "a?{1}",
    "a{0,1}{0,1}",
    "a{0}+",
    "(a{1,9}){1,9}",
];

const SUBJECTS: &[&str] = &[
    "", "a", "A", "b", "B", "ab", "aB", "abc", "ABC", "x.abc", "xabc", "a.c", "abcabc", "aa", "aaa", "aab", "abab",
    "ac", "a|b", "(a)", "a+b", "a*", "*a", "^a", "b$", "a^b", "a$b", "a{2}", "]", "[", "-", "\\", "a]", "[a", "[a]",
    "_", "z", "Z", "0", " ", "a b", "/", "a/c", ".c", "x.c", "a\\", "a-c", "+", "?", ".", ":", "#", "a#b", "\u{e9}",
    "q", "`", "n", "\"", "{", "}", ",", "\t", "\x0b",
];

#[test]
fn patterns_mean_what_they_mean_to_the_c_library() {
    let mut questions = Vec::new();
    for (pattern, syntax) in PATTERNS.iter().flat_map(|pattern| SYNTAXES.map(|syntax| (pattern.as_bytes(), syntax))) {
        // Whether wildcards ignore the case is nothing that the library is asked.
        for ignore_case in [false, true].into_iter().filter(|ignore| !ignore || syntax != Syntax::Fnmatch) {
            let subjects = SUBJECTS.iter().map(|subject| subject.as_bytes());
            questions.extend(subjects.map(|subject| Question { syntax, ignore_case, pattern, subject }));
        }
    }
    let (compared, wrong) = compare(&questions);
    assert!(compared > 40_000, "{compared}");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{wrong}", wrong.lines().count());
}

#[test]
fn who_runs_out_of_patience_is_told_once_and_nobody_else() {
    let mut builder = Builder::default();
    for pattern in ["(c)\\1", "(a*)(a*)x\\1\\2y", "(b)\\1"] {
        builder.add(parse(pattern.as_bytes(), Syntax::Ere, false).unwrap()).unwrap();
    }
    let rules = builder.build().unwrap();
    let subject = format!("{0}x{0}az", "a".repeat(50)) + "y";
    let mut patience = Patience::of(2000);
    for _ in 0..2 {
        assert_eq!(rules.match_any(subject.as_bytes(), &mut patience), Answer::Unknown);
        let told: Vec<_> = rules.referring.iter().map(|program| program.told.is_completed()).collect();
        assert_eq!(told, [false, true, false]);
    }
    assert_eq!(rules.match_any(b"bb", &mut Patience::new()), Answer::Yes);
}

/// Names that look like those of a real list.
fn names(number: u64) -> impl Iterator<Item = String> {
    let syllables = [
        "ad", "track", "er", "click", "pix", "el", "stat", "bann", "co", "unt", "me", "dia", "serv", "ics", "net", "go",
    ];
    (0..number).map(move |index| {
        let mut mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut word = || {
            let mut word = String::new();
            for _ in 0..2 + mixed % 3 {
                mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word.push_str(syllables[usize::try_from(mixed >> 60).unwrap()]);
            }
            word
        };
        format!("{}{}.{}.com", word(), index % 97, word())
    })
}

fn resident_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The numbers of the README; run alone, in a release build, with `--nocapture`.
#[test]
#[ignore = "a measurement: its numbers say something in a release build only"]
fn a_hundred_thousand_patterns_take_microseconds() {
    type Form = (&'static str, Syntax, fn(&str) -> String);
    let forms: [Form; 6] = [
        ("example.com", Syntax::Bre, str::to_owned),
        ("^example\\.com$", Syntax::Bre, |name| format!("^{}$", name.replace('.', "\\."))),
        ("(^|\\.)example\\.com$", Syntax::Ere, |name| format!("(^|\\.){}$", name.replace('.', "\\."))),
        ("*.example.com", Syntax::Fnmatch, |name| format!("*.{name}")),
        ("^ads[0-9]+\\.example\\..*", Syntax::Ere, |name| format!("^ads[0-9]+\\.{}\\..*", name.replace('.', "\\."))),
        ("^[a-z]{3,9}[0-9]+$", Syntax::Ere, |name| format!("^[a-z]{{3,9}}[0-9]{{{},}}$", 2 + name.len() % 7)),
    ];
    for (form, syntax, pattern) in forms {
        let patterns: Vec<_> = names(100_000).map(|name| pattern(&name)).collect();
        let (memory, start) = (resident_kilobytes(), Instant::now());
        let mut builder = Builder::default();
        for pattern in &patterns {
            builder.add(parse(pattern.as_bytes(), syntax, true).unwrap()).unwrap();
        }
        let rules = builder.build().unwrap();
        let (built, kept) = (start.elapsed(), resident_kilobytes().saturating_sub(memory));
        let hosts: Vec<_> = names(200_000).skip(100_000).map(|name| format!("www.{name}")).collect();
        let start = Instant::now();
        let found = hosts
            .iter()
            .filter(|host| hint::black_box(&rules).match_any(host.as_bytes(), &mut Patience::new()) == Answer::Yes)
            .count();
        let each = start.elapsed() / u32::try_from(hosts.len()).unwrap();
        eprintln!("{form}: built in {built:?}, {} MB, {each:?} for a host ({found} found)", kept / 1000);
        assert!(built < Duration::from_secs(5), "{form}: {built:?}");
    }
}

pub(super) const SYNTAXES: [Syntax; 3] = [Syntax::Bre, Syntax::Ere, Syntax::Fnmatch];
