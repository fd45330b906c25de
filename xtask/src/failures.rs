//! What failed tests said, kept until the end: whoever reads the last page of a long log must find it there.

/// What failed tests said, as libtest prints it after the last test of a binary.
#[derive(Default)]
pub struct Failures {
    tests: Vec<Failure>,
    part: Part,
}

struct Failure {
    /// `---- name stdout ----`
    title: String,
    said: Vec<String>,
    left_out: usize,
}

/// Which part of the output a line belongs to.
#[derive(Default, PartialEq)]
enum Part {
    #[default]
    Results,
    /// The part that begins with `failures:`.
    Failures,
    /// Frames, which say little to whoever knows the test.
    Backtrace,
}

/// Of one test; a program's own log may be long.
const LINES: usize = 60;
/// Of one line.
const CHARACTERS: usize = 600;

impl Failures {
    /// Takes the next line of the output.
    pub fn read(&mut self, line: String) {
        if line.starts_with("test result:") {
            self.part = Part::Results;
        } else if line == "failures:" {
            self.part = Part::Failures;
        } else if self.part != Part::Results && line.starts_with("---- ") {
            self.part = Part::Failures;
            self.tests.push(Failure { title: line, said: Vec::new(), left_out: 0 });
        } else if self.part == Part::Failures && line == "stack backtrace:" {
            self.part = Part::Backtrace;
        } else if self.part == Part::Failures
            && let Some(failure) = self.tests.last_mut()
        {
            if failure.said.len() == LINES {
                failure.left_out += 1;
            } else {
                failure.said.push(line.chars().take(CHARACTERS).collect());
            }
        }
    }

    /// All of it, to be printed.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.tests.iter().flat_map(|failure| {
            let rest = (failure.left_out > 0).then(|| format!("(and {} more lines above)", failure.left_out));
            let title = [String::new(), failure.title.clone()];
            title.into_iter().chain(failure.said.iter().cloned()).chain(rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_test_said_is_kept_without_its_backtrace() {
        let mut failures = Failures::default();
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nb said\nstack backtrace:\n\
                      0: frame\n---- c stdout ----\nc said\n\n\nfailures:\n    b\n    c\n\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored\nafterwards\n";
        output.lines().for_each(|line| failures.read(line.to_owned()));
        let lines: Vec<_> = failures.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["---- b stdout ----", "b said", "---- c stdout ----", "c said", "    b", "    c"]);
    }

    #[test]
    fn long_outputs_are_cut() {
        let mut failures = Failures::default();
        let long = "x".repeat(1000);
        for line in ["failures:", "---- a stdout ----"].into_iter().chain([long.as_str(); 70]) {
            failures.read(line.to_owned());
        }
        let lines: Vec<_> = failures.lines().collect();
        assert_eq!((lines.len(), lines[2].len()), (63, 600));
        assert_eq!(lines[62], "(and 10 more lines above)");
    }
}
