//! Tokens of a template.
//!
//! May not: know the grammar. A mistake becomes the last token; the parser complains about it when it gets there, so what
//! is wrong further left is told first, as in Go.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Between actions.
    Text,
    /// `{{`, with its trim marker.
    Open,
    /// `}}`, with its trim marker.
    Close,
    /// `.Name`
    Field,
    /// `$` or `$name`
    Variable,
    Identifier,
    Bool,
    Character,
    Quoted,
    Raw,
    Number,
    Space,
    Pipe,
    OpenParen,
    CloseParen,
    Assign,
    Declare,
    /// Any other printable ASCII character, the comma among them.
    Other,
    /// `.` alone.
    Dot,
    Nil,
    /// `if`, `range`...
    Keyword,
    End,
    /// The text is the message.
    Mistake,
}

/// One token.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    /// Byte offset.
    pub at: usize,
    pub text: String,
}

const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];
const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Takes `text` apart.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        begin: 0,
        parens: 0,
        out: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.push(Kind::Mistake, lexer.begin, &message);
    }
    lexer.push(Kind::End, text.len(), "");
    lexer.out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the token under way begins.
    begin: usize,
    parens: usize,
    out: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, kind: Kind, at: usize, text: &str) {
        self.out.push(Token {
            kind,
            at,
            text: text.to_owned(),
        });
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Everything, text and actions in turn.
    fn run(&mut self) -> Result<(), String> {
        let mut trim_left = false;
        loop {
            let rest = self.rest();
            let Some(open) = rest.find(OPEN) else {
                let shown = if trim_left {
                    rest.trim_start_matches(SPACES)
                } else {
                    rest
                };
                if !shown.is_empty() {
                    self.push(Kind::Text, self.text.len() - shown.len(), shown);
                }
                return Ok(());
            };
            let mut shown = &rest[..open];
            let start = self.at;
            self.at += open + OPEN.len();
            let trim_right = self.rest().starts_with('-') && self.rest()[1..].starts_with(SPACES);
            if trim_right {
                shown = shown.trim_end_matches(SPACES);
            }
            if trim_left {
                shown = shown.trim_start_matches(SPACES);
            }
            if !shown.is_empty() {
                self.push(Kind::Text, start, shown);
            }
            let open_at = self.at - OPEN.len();
            if trim_right {
                self.at += 2;
            }
            if self.rest().starts_with("/*") {
                trim_left = self.comment()?;
                continue;
            }
            self.push(Kind::Open, open_at, OPEN);
            self.parens = 0;
            trim_left = self.action()?;
        }
    }

    /// Returns whether the text behind it is trimmed.
    fn comment(&mut self) -> Result<bool, String> {
        self.begin = self.at;
        let Some(end) = self.rest().find("*/") else {
            return Err("unclosed comment".to_owned());
        };
        self.at += end + 2;
        let Some((length, trim)) = self.close() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.at += length;
        Ok(trim)
    }

    /// Whether an action ends here: the length of its end, and whether the text behind it is trimmed.
    fn close(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with(CLOSE) {
            return Some((CLOSE.len(), false));
        }
        let trimmed = rest.strip_prefix(SPACES)?.strip_prefix('-')?;
        trimmed.starts_with(CLOSE).then_some((2 + CLOSE.len(), true))
    }

    /// Up to and with the closing braces; returns whether the text behind them is trimmed.
    fn action(&mut self) -> Result<bool, String> {
        loop {
            if let Some((length, trim)) = self.close() {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.push(Kind::Close, self.at, CLOSE);
                self.at += length;
                return Ok(trim);
            }
            self.token()?;
        }
    }

    fn token(&mut self) -> Result<(), String> {
        let start = self.at;
        self.begin = start;
        let Some(c) = self.bump() else {
            return Err("unclosed action".to_owned());
        };
        let kind = match c {
            c if SPACES.contains(&c) => {
                // The last space may belong to a trim marker.
                while self.close().is_none() && self.peek().is_some_and(|c| SPACES.contains(&c)) {
                    self.bump();
                }
                Kind::Space
            }
            '=' => Kind::Assign,
            ':' => {
                if self.bump() != Some('=') {
                    return Err("expected :=".to_owned());
                }
                Kind::Declare
            }
            '|' => Kind::Pipe,
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::Character, "unterminated character constant")?,
            '`' => {
                let Some(end) = self.rest().find('`') else {
                    return Err("unterminated raw quoted string".to_owned());
                };
                self.at += end + 1;
                Kind::Raw
            }
            '$' => self.name(Kind::Variable, Kind::Variable)?,
            '.' if self.peek().is_some_and(|c| !c.is_ascii_digit()) => self.name(Kind::Field, Kind::Dot)?,
            '.' | '+' | '-' | '0'..='9' => {
                self.at = start;
                self.number(start)?
            }
            c if is_alphanumeric(c) => self.word(start)?,
            '(' => {
                self.parens += 1;
                Kind::OpenParen
            }
            ')' => {
                if self.parens == 0 {
                    return Err("unexpected right paren".to_owned());
                }
                self.parens -= 1;
                Kind::CloseParen
            }
            c if c.is_ascii_graphic() => Kind::Other,
            c => return Err(format!("unrecognized character in action: {}", unicode(c))),
        };
        let text = &self.text[start..self.at];
        self.push(kind, start, text);
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<Kind, String> {
        loop {
            match self.bump() {
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.bump();
                }
                None | Some('\n' | '\\') => return Err(unterminated.to_owned()),
                Some(c) if c == quote => return Ok(kind),
                Some(_) => {}
            }
        }
    }

    /// Behind `.` or `$`.
    fn name(&mut self, kind: Kind, alone: Kind) -> Result<Kind, String> {
        if self.at_terminator() {
            return Ok(alone);
        }
        self.letters()?;
        Ok(kind)
    }

    fn word(&mut self, start: usize) -> Result<Kind, String> {
        self.letters()?;
        let word = &self.text[start..self.at];
        Ok(match word {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            _ if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        })
    }

    fn letters(&mut self) -> Result<(), String> {
        while self.peek().is_some_and(is_alphanumeric) {
            self.bump();
        }
        if self.at_terminator() {
            return Ok(());
        }
        Err(format!(
            "bad character {}",
            self.peek().map_or_else(String::new, unicode)
        ))
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None => true,
            Some(c) => {
                SPACES.contains(&c)
                    || matches!(c, '.' | ',' | '|' | ':' | ')' | '(')
                    || self.rest().starts_with(CLOSE)
            }
        }
    }

    fn run_of(&mut self, accepted: &str) {
        while self.peek().is_some_and(|c| accepted.contains(c)) {
            self.bump();
        }
    }

    fn take(&mut self, accepted: &str) -> bool {
        let found = self.peek().is_some_and(|c| accepted.contains(c));
        if found {
            self.bump();
        }
        found
    }

    fn number(&mut self, start: usize) -> Result<Kind, String> {
        self.take("+-");
        let mut digits = "0123456789_";
        if self.take("0") {
            if self.take("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.take("oO") {
                digits = "01234567_";
            } else if self.take("bB") {
                digits = "01_";
            }
        }
        self.run_of(digits);
        if self.take(".") {
            self.run_of(digits);
        }
        let exponent = if digits.len() > 11 { "pP" } else { "eE" };
        if digits.len() >= 11 && self.take(exponent) {
            self.take("+-");
            self.run_of("0123456789_");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            return Err(format!(
                "bad number syntax: {}",
                super::quote(&self.text[start..self.at])
            ));
        }
        Ok(Kind::Number)
    }
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Go's `%#U`.
fn unicode(c: char) -> String {
    let point = format!("U+{:04X}", u32::from(c));
    if c.is_control() {
        point
    } else {
        format!("{point} '{c}'")
    }
}
