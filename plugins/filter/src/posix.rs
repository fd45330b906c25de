//! Basic and extended regular expressions as [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap09.html)
//! describes them, where it leaves something open as the GNU C library reads it, and with that library's own operators.
//!
//! Only whether a pattern is found matters here, never where: so the rule that the longest of the leftmost matches wins has
//! no counterpart.

mod bracket;

use regex_syntax::hir::Look;

use crate::{
    byte_set::ByteSet,
    expression::Expression,
    syntax::{MOST_STATES, PatternError},
};

/// Which of the two languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Operators are `\(`, `\)`, `\{`, `\}`, `\|`, `\+`, `\?`.
    Basic,
    /// The same without backslashes.
    Extended,
}

/// Reads a pattern. With `ignore_case` it is one for subjects in lower case.
pub(crate) fn parse(pattern: &[u8], dialect: Dialect, ignore_case: bool) -> Result<Expression, PatternError> {
    let (token, depth, groups, ended) = (Token::End, 0, 0, Vec::new());
    let mut parser = Parser { pattern, at: 0, token, dialect, ignore_case, depth, groups, ended };
    parser.advance(Caret::InFirstPlace);
    parser.alternatives()
}

/// The most repetitions that an interval may ask for: RE_DUP_MAX of the GNU C library.
pub(crate) const MOST_REPEATED: u32 = 32_767;

struct Parser<'p> {
    pattern: &'p [u8],
    /// Behind the current token.
    at: usize,
    token: Token,
    dialect: Dialect,
    ignore_case: bool,
    /// How many groups are open.
    depth: usize,
    /// How many groups have begun.
    groups: usize,
    /// Those that have ended.
    ended: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Set(Shorthand),
    /// What no subject holds.
    Nothing,
    OpenBracket,
    Open,
    Close,
    Or,
    Star,
    Plus,
    Question,
    OpenInterval,
    CloseInterval,
    Anchor(Look),
    BackReference(u8),
    LoneBackslash,
    End,
}

/// `\w`, `\W`, `\s`, `\S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shorthand {
    Word,
    NoWord,
    Space,
    NoSpace,
}

/// Where a `^` of a basic expression is an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caret {
    /// Here, because a group or an alternative begins.
    Here,
    /// Only as the first byte of the pattern.
    InFirstPlace,
}

impl Parser<'_> {
    /// One alternative or several, up to the end of the group.
    fn alternatives(&mut self) -> Result<Expression, PatternError> {
        let before = self.ended.clone();
        let mut branches = vec![self.branch()?];
        while self.token == Token::Or {
            self.advance(Caret::Here);
            // What one alternative found is nothing to another.
            let others = std::mem::replace(&mut self.ended, before.clone());
            branches.push(self.branch()?);
            self.ended.extend(others);
        }
        Ok(if branches.len() == 1 { branches.swap_remove(0) } else { Expression::Alternation(branches) })
    }

    fn branch(&mut self) -> Result<Expression, PatternError> {
        let mut parts = Vec::new();
        loop {
            match self.token {
                Token::Or | Token::End => break,
                Token::Close if self.depth > 0 => break,
                _ => parts.push(self.expression()?),
            }
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Concat(parts) })
    }

    /// One element, with the repetitions behind it.
    fn expression(&mut self) -> Result<Expression, PatternError> {
        let mut expression = match self.token {
            Token::Byte(byte) => self.byte(byte),
            Token::Any => Expression::Set(ByteSet::ALL),
            Token::Set(shorthand) => Expression::Set(shorthand.set()),
            Token::Nothing => Expression::Set(ByteSet::EMPTY),
            Token::OpenBracket => Expression::Set(self.bracket()?),
            Token::Open => self.group()?,
            Token::Anchor(look) => {
                // What would repeat an anchor is read as the beginning of another expression.
                self.advance(Caret::InFirstPlace);
                return Ok(Expression::Look(look));
            }
            Token::Close if self.dialect == Dialect::Extended => self.byte(b')'),
            Token::Close => return Err(PatternError::Parenthesis),
            Token::CloseInterval => self.byte(b'}'),
            Token::Star if self.dialect == Dialect::Basic => self.byte(b'*'),
            Token::Plus if self.dialect == Dialect::Basic => self.byte(b'+'),
            Token::Question if self.dialect == Dialect::Basic => self.byte(b'?'),
            Token::Star | Token::Plus | Token::Question | Token::OpenInterval => {
                return Err(PatternError::Repetition);
            }
            Token::BackReference(digit) => self.reference(digit)?,
            Token::LoneBackslash => return Err(PatternError::Backslash),
            Token::Or | Token::End => Expression::Empty,
        };
        self.advance(Caret::InFirstPlace);
        while let Token::Star | Token::Plus | Token::Question | Token::OpenInterval = self.token {
            expression = self.repeated(expression)?;
            // A row of intervals doubles the size at least, so it ends here before it is deep.
            if expression.size() > MOST_STATES {
                return Err(PatternError::Size);
            }
            if self.dialect == Dialect::Basic && matches!(self.token, Token::Star | Token::OpenInterval) {
                return Err(PatternError::Repetition);
            }
        }
        Ok(expression)
    }

    /// The group of this number must have ended.
    fn reference(&self, digit: u8) -> Result<Expression, PatternError> {
        let number = usize::from(digit - b'0');
        if self.ended.contains(&number) { Ok(Expression::Reference(number)) } else { Err(PatternError::Reference) }
    }

    fn group(&mut self) -> Result<Expression, PatternError> {
        self.depth += 1;
        self.groups += 1;
        let number = self.groups;
        if self.depth > DEEPEST_GROUP {
            return Err(PatternError::Depth);
        }
        self.advance(Caret::Here);
        let inner = self.alternatives()?;
        self.depth -= 1;
        if self.token != Token::Close {
            return Err(PatternError::Parenthesis);
        }
        if number > MOST_REFERRED || !self.may_refer() {
            return Ok(inner);
        }
        self.ended.push(number);
        Ok(Expression::Group(number, Box::new(inner)))
    }

    /// Whether what follows may have a back-reference.
    fn may_refer(&self) -> bool {
        let rest = self.pattern.get(self.at..).unwrap_or_default();
        rest.windows(2).any(|pair| matches!(pair, [b'\\', b'1'..=b'9']))
    }

    fn repeated(&mut self, expression: Expression) -> Result<Expression, PatternError> {
        let (min, max) = match self.token {
            Token::OpenInterval => self.interval()?,
            Token::Plus => (1, None),
            Token::Question => (0, Some(1)),
            _ => (0, None),
        };
        self.advance(Caret::InFirstPlace);
        Ok(expression.repeated(min, max))
    }

    /// Reads an interval; its closing brace becomes the current token.
    fn interval(&mut self) -> Result<(u32, Option<u32>), PatternError> {
        let min = self.number()?;
        let max = match (self.token, min) {
            (Token::CloseInterval, Some(min)) => Some(min),
            (Token::Byte(b','), _) => self.number()?,
            _ => return Err(PatternError::Interval),
        };
        let min = min.unwrap_or(0);
        if self.token != Token::CloseInterval || max.is_some_and(|max| min > max) {
            return Err(PatternError::Interval);
        }
        if max.unwrap_or(min) > MOST_REPEATED { Err(PatternError::Count) } else { Ok((min, max)) }
    }

    /// Digits, if there are any, up to what follows them.
    fn number(&mut self) -> Result<Option<u32>, PatternError> {
        let mut number = None;
        loop {
            self.advance(Caret::InFirstPlace);
            match self.token {
                Token::Byte(digit @ b'0'..=b'9') => {
                    let value = number.unwrap_or(0) * 10 + u32::from(digit - b'0');
                    number = Some(value.min(MOST_REPEATED + 1));
                }
                Token::CloseInterval | Token::Byte(b',') => return Ok(number),
                _ => return Err(PatternError::Interval),
            }
        }
    }

    fn byte(&self, byte: u8) -> Expression {
        Expression::Byte(if self.ignore_case { byte.to_ascii_lowercase() } else { byte })
    }

    /// Goes on to the next token.
    fn advance(&mut self, caret: Caret) {
        self.token = self.next(caret);
    }

    fn next(&mut self, caret: Caret) -> Token {
        let Some(&byte) = self.pattern.get(self.at) else { return Token::End };
        self.at += 1;
        let is_extended = self.dialect == Dialect::Extended;
        match byte {
            b'\\' => {
                let Some(&escaped) = self.pattern.get(self.at) else { return Token::LoneBackslash };
                self.at += 1;
                let token = if is_extended { None } else { operator(escaped) };
                match token.unwrap_or_else(|| gnu_operator(escaped)) {
                    // The library compares the upper case of subjects with the letter as it is. Lists with a `\d` for digits
                    // rely on it, without knowing: otherwise they would be about every `d`.
                    Token::Byte(b'a'..=b'z') if self.ignore_case => Token::Nothing,
                    token => token,
                }
            }
            b'*' => Token::Star,
            b'[' => Token::OpenBracket,
            b'.' => Token::Any,
            b'^' if is_extended || caret == Caret::Here || self.at == 1 => Token::Anchor(Look::Start),
            b'$' if is_extended || self.ends_branch() => Token::Anchor(Look::End),
            _ if is_extended => operator(byte).unwrap_or(Token::Byte(byte)),
            _ => Token::Byte(byte),
        }
    }

    /// Whether nothing of this branch of a basic expression follows.
    fn ends_branch(&self) -> bool {
        matches!(self.pattern.get(self.at..), None | Some([] | [b'\\', b')' | b'|', ..]))
    }
}

impl Shorthand {
    fn set(self) -> ByteSet {
        match self {
            Self::Word => ByteSet::word(),
            Self::NoWord => ByteSet::word().negated(),
            Self::Space => ByteSet::space(),
            Self::NoSpace => ByteSet::space().negated(),
        }
    }
}

/// The operators that are written with a backslash in basic expressions, and without in extended ones.
fn operator(byte: u8) -> Option<Token> {
    Some(match byte {
        b'(' => Token::Open,
        b')' => Token::Close,
        b'{' => Token::OpenInterval,
        b'}' => Token::CloseInterval,
        b'|' => Token::Or,
        b'+' => Token::Plus,
        b'?' => Token::Question,
        _ => return None,
    })
}

/// What a byte behind a backslash means in both languages.
fn gnu_operator(escaped: u8) -> Token {
    match escaped {
        b'1'..=b'9' => Token::BackReference(escaped),
        b'w' => Token::Set(Shorthand::Word),
        b'W' => Token::Set(Shorthand::NoWord),
        b's' => Token::Set(Shorthand::Space),
        b'S' => Token::Set(Shorthand::NoSpace),
        b'b' => Token::Anchor(Look::WordAscii),
        b'B' => Token::Anchor(Look::WordAsciiNegate),
        b'<' => Token::Anchor(Look::WordStartAscii),
        b'>' => Token::Anchor(Look::WordEndAscii),
        b'`' => Token::Anchor(Look::Start),
        b'\'' => Token::Anchor(Look::End),
        plain => Token::Byte(plain),
    }
}

/// What is deeper would need a stack without bounds.
const DEEPEST_GROUP: usize = 250;
/// A back-reference has one digit.
const MOST_REFERRED: usize = 9;
