//! The tree of a template.
//!
//! May not: look at data. Which functions there are it does know, because Go refuses unknown ones here.

use super::funcs;
use super::lex::{self, Kind, Token};
use super::printing::{quote, unquote, unquote_char};
use super::value::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// How deep parentheses and blocks may nest. Each level is a few stack frames here and in the execution.
const DEPTH: usize = 200;

/// A named template.
#[derive(Debug)]
pub struct Definition {
    pub body: Vec<Node>,
}

/// What is executed.
#[derive(Debug)]
pub enum Node {
    Text(String),
    /// `{{pipeline}}`
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Call),
    Break,
    Continue,
}

/// `{{if P}} body {{else}} otherwise {{end}}`
#[derive(Debug)]
pub struct Branch {
    pub pipe: Pipe,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// `{{template "name" pipeline}}`
#[derive(Debug)]
pub struct Call {
    pub at: usize,
    pub name: String,
    pub pipe: Option<Pipe>,
}

/// `$x := a | b`
#[derive(Debug)]
pub struct Pipe {
    pub at: usize,
    /// Variables with their `$`.
    pub targets: Vec<String>,
    /// `=` instead of `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// `a b c`
#[derive(Debug)]
pub struct Command {
    pub at: usize,
    pub words: Vec<Word>,
}

/// One operand.
#[derive(Debug)]
pub struct Word {
    pub at: usize,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Identifier(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// `(pipeline).A`
    Chain(Box<Word>, Vec<String>),
    Pipe(Pipe),
    Dot,
    Nil,
    Bool(bool),
    /// As written, and what it is.
    Number(String, Value),
    /// As written, and what it is.
    Text(String, String),
}

/// All templates that `text` defines, the outermost under `name`.
///
/// # Errors
/// `template: NAME:LINE: what is wrong`.
pub fn parse(name: &str, text: &str) -> Result<BTreeMap<String, Definition>, String> {
    let mut parser = Parser {
        tokens: lex::tokens(text).into(),
        last: 0,
        action: 0,
        text,
        variables: vec!["$".to_owned()],
        ranges: 0,
        depth: 0,
        definitions: BTreeMap::new(),
    };
    let outer = parser
        .outermost()
        .map_err(|message| format!("template: {name}:{}: {message}", parser.line(parser.last)))?;
    // A template that is empty leaves one alone that was defined under its name.
    let empty = outer
        .iter()
        .all(|n| matches!(n, Node::Text(t) if t.trim().is_empty()));
    if !(empty && parser.definitions.contains_key(name)) {
        parser
            .definitions
            .insert(name.to_owned(), Definition { body: outer });
    }
    Ok(parser.definitions)
}

struct Parser<'a> {
    tokens: VecDeque<Token>,
    /// Where the latest token began, for the line in errors.
    last: usize,
    /// Where the action under way began.
    action: usize,
    text: &'a str,
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    definitions: BTreeMap<String, Definition>,
}

/// What ended a list of nodes.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    End,
    Else,
}

impl Ended {
    fn text(&self) -> &'static str {
        match self {
            Ended::End => "{{end}}",
            Ended::Else => "{{else}}",
        }
    }
}

/// A node, or what closes the list that it would be in.
enum Item {
    Node(Node),
    Closing(Ended),
}

impl Parser<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text[..at.min(self.text.len())].matches('\n').count()
    }

    fn peek(&mut self) -> Token {
        let token = self.tokens.front().cloned().unwrap_or(Token {
            kind: Kind::End,
            at: self.text.len(),
            text: String::new(),
        });
        self.last = token.at;
        token
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.tokens.pop_front();
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == Kind::Space {
            self.tokens.pop_front();
        }
    }

    fn next_word(&mut self) -> Token {
        self.skip_spaces();
        self.next()
    }

    fn peek_word(&mut self) -> Token {
        self.skip_spaces();
        self.peek()
    }

    fn unexpected<T>(&mut self, token: &Token, place: &str) -> Result<T, String> {
        self.last = token.at;
        if token.kind != Kind::Mistake {
            return Err(format!("unexpected {} in {place}", shown(token)));
        }
        if self.line(self.action) == self.line(token.at) {
            return Err(token.text.clone());
        }
        let line = self.line(self.action);
        Err(match token.text.strip_suffix(" action") {
            Some(_) => format!("{} started at :{line}", token.text),
            None => format!("{} in action started at :{line}", token.text),
        })
    }

    fn expect(&mut self, kind: Kind, place: &str) -> Result<Token, String> {
        let token = self.next_word();
        if token.kind == kind {
            Ok(token)
        } else {
            self.unexpected(&token, place)
        }
    }

    fn deeper<T>(&mut self, then: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("max expression depth {DEPTH} exceeded"));
        }
        let result = then(self);
        self.depth -= 1;
        result
    }

    fn outermost(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            if self.is_define() {
                self.define()?;
                continue;
            }
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Closing(ended) => return Err(format!("unexpected {}", ended.text())),
            }
        }
        Ok(nodes)
    }

    fn is_define(&self) -> bool {
        let mut words = self.tokens.iter();
        words.next().is_some_and(|t| t.kind == Kind::Open)
            && words
                .find(|t| t.kind != Kind::Space)
                .is_some_and(|t| t.kind == Kind::Keyword && t.text == "define")
    }

    /// `{{define "name"}} body {{end}}`
    fn define(&mut self) -> Result<(), String> {
        self.action = self.next().at;
        self.next_word();
        let name = self.template_name("define clause")?;
        self.expect(Kind::Close, "define clause")?;
        let kept = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (body, ended) = self.list()?;
        if ended != Ended::End {
            return Err(format!("unexpected {} in define clause", ended.text()));
        }
        self.variables = kept;
        self.add(name, body)
    }

    fn add(&mut self, name: String, body: Vec<Node>) -> Result<(), String> {
        let empty = body
            .iter()
            .all(|n| matches!(n, Node::Text(t) if t.trim().is_empty()));
        if self.definitions.contains_key(&name) {
            if empty {
                return Ok(());
            }
            return Err(format!(
                "template: multiple definition of template {}",
                quote(&name)
            ));
        }
        self.definitions.insert(name, Definition { body });
        Ok(())
    }

    fn template_name(&mut self, place: &str) -> Result<String, String> {
        let token = self.next_word();
        match token.kind {
            Kind::Quoted | Kind::Raw => unquote(&token.text).ok_or_else(|| "invalid syntax".to_owned()),
            _ => self.unexpected(&token, place),
        }
    }

    /// Nodes up to `{{end}}` or `{{else}}`, which is read as far as its keyword.
    fn list(&mut self) -> Result<(Vec<Node>, Ended), String> {
        let mut nodes = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Closing(ended) => return Ok((nodes, ended)),
            }
        }
        Err("unexpected EOF".to_owned())
    }

    fn item(&mut self) -> Result<Item, String> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text))),
            Kind::Open => {
                self.action = token.at;
                self.deeper(Self::action)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let word = self.peek_word();
        if word.kind != Kind::Keyword {
            let kept = self.variables.len();
            let pipe = self.pipeline("command", Kind::Close)?;
            // A declaration outside any block lasts to the end of the block around it.
            if pipe.targets.is_empty() {
                self.variables.truncate(kept);
            }
            return Ok(Item::Node(Node::Action(pipe)));
        }
        self.next();
        Ok(match word.text.as_str() {
            "if" => Item::Node(Node::If(self.branch("if")?)),
            "with" => Item::Node(Node::With(self.branch("with")?)),
            "range" => Item::Node(Node::Range(self.branch("range")?)),
            "end" => {
                self.expect(Kind::Close, "end")?;
                Item::Closing(Ended::End)
            }
            "else" => {
                // `{{else if ...}}` is for the branch to read.
                let next = self.peek_word();
                if !(next.kind == Kind::Keyword && (next.text == "if" || next.text == "with")) {
                    self.expect(Kind::Close, "else")?;
                }
                Item::Closing(Ended::Else)
            }
            "template" => {
                let token = self.peek_word();
                let name = self.template_name("template clause")?;
                let pipe = if self.peek_word().kind == Kind::Close {
                    self.next();
                    None
                } else {
                    Some(self.pipeline("template clause", Kind::Close)?)
                };
                Item::Node(Node::Template(Call {
                    at: token.at,
                    name,
                    pipe,
                }))
            }
            "block" => self.block()?,
            "break" | "continue" => {
                let close = self.next_word();
                if close.kind != Kind::Close {
                    return self.unexpected(&close, &format!("{{{{{}}}}}", word.text));
                }
                if self.ranges == 0 {
                    return Err(format!("{{{{{}}}}} outside {{{{range}}}}", word.text));
                }
                Item::Node(if word.text == "break" {
                    Node::Break
                } else {
                    Node::Continue
                })
            }
            _ => return self.unexpected(&word, "command"),
        })
    }

    fn block(&mut self) -> Result<Item, String> {
        let token = self.peek_word();
        let name = self.template_name("block clause")?;
        let pipe = self.pipeline("block clause", Kind::Close)?;
        let kept = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (body, ended) = self.list()?;
        if ended != Ended::End {
            return Err(format!("unexpected {} in block clause", ended.text()));
        }
        self.variables = kept;
        self.add(name.clone(), body)?;
        Ok(Item::Node(Node::Template(Call {
            at: token.at,
            name,
            pipe: Some(pipe),
        })))
    }

    fn branch(&mut self, word: &str) -> Result<Branch, String> {
        let kept = self.variables.len();
        let pipe = self.pipeline(word, Kind::Close)?;
        self.ranges += usize::from(word == "range");
        let listed = self.list();
        self.ranges -= usize::from(word == "range");
        let (body, ended) = listed?;
        let mut otherwise = Vec::new();
        if ended == Ended::Else {
            let next = self.peek_word();
            if next.kind == Kind::Keyword && (word == "if" || word == "with") {
                // `{{else if x}}` is `{{else}}{{if x}}` that needs no end of its own.
                if next.text != word {
                    return self.unexpected(&next, "else");
                }
                self.next();
                let inner = self.deeper(|p| p.branch(word))?;
                otherwise.push(if word == "if" {
                    Node::If(inner)
                } else {
                    Node::With(inner)
                });
            } else if next.kind == Kind::Keyword {
                return self.unexpected(&next, "else");
            } else {
                let (nodes, ended) = self.list()?;
                if ended != Ended::End {
                    return Err(format!("expected end; found {}", ended.text()));
                }
                otherwise = nodes;
            }
        }
        self.variables.truncate(kept);
        Ok(Branch {
            pipe,
            body,
            otherwise,
        })
    }

    fn pipeline(&mut self, place: &str, end: Kind) -> Result<Pipe, String> {
        let at = self.peek_word().at;
        let mut pipe = Pipe {
            at,
            targets: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.targets(&mut pipe, place)?;
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::Character
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::OpenParen => {
                    self.tokens.push_front(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, place),
            }
        }
        if pipe.commands.is_empty() {
            return Err(format!("missing value for {place}"));
        }
        for (n, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(
                command.words[0].what,
                What::Bool(_) | What::Dot | What::Nil | What::Number(..) | What::Text(..)
            ) {
                return Err(format!("non executable command in pipeline stage {}", n + 1));
            }
        }
        if !pipe.assigns {
            self.variables.extend(pipe.targets.iter().cloned());
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, `$i, $x :=`
    fn targets(&mut self, pipe: &mut Pipe, place: &str) -> Result<(), String> {
        loop {
            let variable = self.peek_word();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let mut ahead = self.tokens.iter().skip(1);
            let mut next = ahead.next();
            let space = next.is_some_and(|t| t.kind == Kind::Space);
            if space {
                next = ahead.next();
            }
            let Some(next) = next.cloned() else {
                return Ok(());
            };
            let comma = next.kind == Kind::Other && next.text == ",";
            if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                return Ok(());
            }
            self.next();
            self.next_word();
            pipe.targets.push(variable.text.clone());
            if !comma {
                pipe.assigns = next.kind == Kind::Assign;
                return Ok(());
            }
            if place != "range" || pipe.targets.len() >= 2 {
                return Err(format!("too many declarations in {place}"));
            }
            let following = self.peek_word();
            if following.kind != Kind::Variable {
                return Err("range can only initialize variables".to_owned());
            }
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let at = self.peek_word().at;
        let mut words = Vec::new();
        loop {
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::Close | Kind::CloseParen => {
                    self.tokens.push_front(token);
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if words.is_empty() {
            return Err("empty command".to_owned());
        }
        Ok(Command { at, words })
    }

    fn operand(&mut self) -> Result<Option<Word>, String> {
        let Some(mut word) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(word));
        }
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        word = match word.what {
            What::Field(mut names) => {
                names.extend(fields);
                Word {
                    at,
                    what: What::Field(names),
                }
            }
            What::Variable(name, mut names) => {
                names.extend(fields);
                Word {
                    at,
                    what: What::Variable(name, names),
                }
            }
            What::Bool(_) | What::Text(..) | What::Number(..) | What::Nil | What::Dot => {
                return Err(format!("unexpected . after term {}", quote(&word.to_string())));
            }
            _ => Word {
                at,
                what: What::Chain(Box::new(word), fields),
            },
        };
        Ok(Some(word))
    }

    fn term(&mut self) -> Result<Option<Word>, String> {
        let token = self.next_word();
        let at = token.at;
        let what = match token.kind {
            Kind::Identifier => {
                if !funcs::exists(&token.text) {
                    return Err(format!("function {} not defined", quote(&token.text)));
                }
                What::Identifier(token.text)
            }
            Kind::Dot => What::Dot,
            Kind::Nil => What::Nil,
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    return Err(format!("undefined variable {}", quote(&token.text)));
                }
                What::Variable(token.text, Vec::new())
            }
            Kind::Field => What::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => What::Bool(token.text == "true"),
            Kind::Character => {
                if token.text == "''" {
                    return Err("invalid syntax".to_owned());
                }
                let c = unquote_char(&token.text)
                    .ok_or_else(|| format!("malformed character constant: {}", token.text))?;
                What::Number(token.text, Value::Int(i64::from(u32::from(c))))
            }
            Kind::Number => {
                let value = number(&token.text)?;
                What::Number(token.text, value)
            }
            Kind::OpenParen => {
                let pipe = self.deeper(|p| p.pipeline("parenthesized pipeline", Kind::CloseParen))?;
                What::Pipe(pipe)
            }
            Kind::Quoted | Kind::Raw => {
                let text = unquote(&token.text).ok_or_else(|| "invalid syntax".to_owned())?;
                What::Text(token.text, text)
            }
            Kind::Mistake => return self.unexpected(&token, "operand"),
            _ => {
                self.tokens.push_front(token);
                return Ok(None);
            }
        };
        Ok(Some(Word { at, what }))
    }
}

/// How a complaint shows a token: keywords in angle brackets, long ones cut.
fn shown(token: &Token) -> String {
    match token.kind {
        Kind::End => "EOF".to_owned(),
        Kind::Keyword | Kind::Dot | Kind::Nil => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            format!("{}...", quote(&token.text.chars().take(10).collect::<String>()))
        }
        _ => quote(&token.text),
    }
}

fn number(text: &str) -> Result<Value, String> {
    let clean = text.replace('_', "");
    let (sign, digits) = match clean.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let magnitude = match radix {
        10 if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            i128::from_str_radix(digits, 8).ok()
        }
        10 if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() => {
            Some(digits.parse().unwrap_or(i128::MAX))
        }
        10 => None,
        radix => i128::from_str_radix(&digits[2..], radix).ok(),
    };
    if let Some(magnitude) = magnitude {
        return i64::try_from(magnitude.saturating_mul(sign))
            .map(Value::Int)
            .map_err(|_| format!("integer overflow: {}", quote(text)));
    }
    let illegal = || format!("illegal number syntax: {}", quote(text));
    if !digits.bytes().any(|b| b.is_ascii_digit()) {
        return Err(illegal());
    }
    let float: f64 = clean.parse().map_err(|_| illegal())?;
    // A whole number such as 1e3 is an integer constant, unless it was written with a point.
    if float.fract() == 0.0 && float.abs() < 9e15 && !text.contains('.') {
        return Ok(Value::Int(float as i64));
    }
    Ok(Value::Float(float))
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.targets.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.targets.join(", "))?;
        }
        for (n, command) in self.commands.iter().enumerate() {
            let joint = if n > 0 { " | " } else { "" };
            write!(f, "{joint}{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, word) in self.words.iter().enumerate() {
            let joint = if n > 0 { " " } else { "" };
            match word.what {
                What::Pipe(_) => write!(f, "{joint}({word})")?,
                _ => write!(f, "{joint}{word}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Identifier(name) => f.write_str(name),
            What::Field(names) => names.iter().try_for_each(|n| write!(f, ".{n}")),
            What::Variable(name, names) => {
                f.write_str(name)?;
                names.iter().try_for_each(|n| write!(f, ".{n}"))
            }
            What::Chain(word, names) => {
                match word.what {
                    What::Pipe(_) => write!(f, "({word})")?,
                    _ => write!(f, "{word}")?,
                }
                names.iter().try_for_each(|n| write!(f, ".{n}"))
            }
            What::Pipe(pipe) => write!(f, "{pipe}"),
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Bool(b) => write!(f, "{b}"),
            What::Number(text, _) | What::Text(text, _) => f.write_str(text),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
