//! As much YAML as tools write when they mean JSON: nested mappings and lists by indentation, plain and quoted scalars, empty or
//! simple flow collections, comments.
//!
//! May not: know anchors, tags, block scalars or several documents; they are refused, not guessed.

use serde_json::{Map, Number, Value};

/// Deeper ones are refused.
const DEEPEST: usize = 32;

/// A document.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut lines = Vec::new();
    for (number, raw) in text.lines().enumerate() {
        let content = without_comment(raw).trim_end();
        let indent = content.len() - content.trim_start_matches(' ').len();
        let content = &content[indent..];
        if content.is_empty() || (indent == 0 && content == "---") {
            continue;
        }
        if content.starts_with('\t') {
            return Err(format!("line {}: a tab for indentation", number + 1));
        }
        lines.push(Line {
            number: number + 1,
            indent,
            content: content.to_owned(),
        });
    }
    let mut parser = Parser { lines, next: 0 };
    let value = match parser.lines.first().map(|line| line.indent) {
        None => return Ok(Value::Null),
        Some(indent) => parser.block(indent, 0)?,
    };
    match parser.lines.get(parser.next) {
        Some(line) => Err(line.bad("indentation")),
        None => Ok(value),
    }
}

#[derive(Clone)]
struct Line {
    number: usize,
    indent: usize,
    content: String,
}

impl Line {
    fn bad(&self, what: &str) -> String {
        format!("line {}: unexpected {what}: {:?}", self.number, self.content)
    }
}

struct Parser {
    lines: Vec<Line>,
    next: usize,
}

impl Parser {
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let line = self.lines[self.next].clone();
        if depth > DEEPEST {
            return Err(line.bad("depth"));
        }
        if is_item(&line.content) {
            return self.list(indent, depth);
        }
        match split_key(&line.content) {
            Some(_) => self.mapping(indent, depth),
            None => {
                self.next += 1;
                scalar(&line.content).map_err(|what| line.bad(&what))
            }
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        while let Some(line) = self.at(indent) {
            if !is_item(&line.content) {
                break;
            }
            let rest = line.content[1..].trim_start_matches(' ');
            if rest.is_empty() {
                self.next += 1;
                list.push(self.nested(indent, depth)?);
                continue;
            }
            // What follows the dash stands where it stands: a mapping goes on below it.
            let deeper = indent + line.content.len() - rest.len();
            self.lines[self.next].content = rest.to_owned();
            self.lines[self.next].indent = deeper;
            list.push(self.block(deeper, depth + 1)?);
        }
        Ok(Value::Array(list))
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        while let Some(line) = self.at(indent) {
            if is_item(&line.content) {
                break;
            }
            let (key, rest) = split_key(&line.content).ok_or_else(|| line.bad("text"))?;
            self.next += 1;
            let value = match rest {
                // A list may stand below its key without being indented.
                "" if self.at(indent).is_some_and(|next| is_item(&next.content)) => {
                    self.list(indent, depth + 1)?
                }
                "" => self.nested(indent, depth)?,
                rest => scalar(rest).map_err(|what| line.bad(&what))?,
            };
            if map.insert(key, value).is_some() {
                return Err(line.bad("second key of that name"));
            }
        }
        Ok(Value::Object(map))
    }

    /// What is indented further, or nothing.
    fn nested(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        match self.lines.get(self.next) {
            Some(line) if line.indent > indent => self.block(line.indent, depth + 1),
            _ => Ok(Value::Null),
        }
    }

    fn at(&self, indent: usize) -> Option<Line> {
        self.lines
            .get(self.next)
            .filter(|line| line.indent == indent)
            .cloned()
    }
}

fn is_item(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}

/// `key: rest`, `key:`, `"key": rest`
fn split_key(content: &str) -> Option<(String, &str)> {
    let (key, rest) = match content.as_bytes().first() {
        Some(b'"' | b'\'') => {
            let end = quoted_end(content)?;
            (string(&content[..end]).ok()?, content[end..].strip_prefix(':')?)
        }
        Some(b'[' | b'{') => return None,
        _ => {
            let at = content
                .find(": ")
                .or_else(|| content.strip_suffix(':').map(str::len))?;
            (content[..at].to_owned(), &content[at + 1..])
        }
    };
    (rest.is_empty() || rest.starts_with(' ')).then(|| (key, rest.trim()))
}

/// A hash begins one at the begin of a line or after a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            // In the middle of a word it is a letter.
            (None, '"' | '\'') if [' ', '[', '{', ',', ':'].contains(&before) => quote = Some(c),
            (None, '#') if before == ' ' || before == '\t' => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line
}

/// Where a quoted string at the begin ends.
fn quoted_end(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote == '"' {
            characters.next();
        } else if c == quote {
            // Two of these in a single-quoted string are one.
            match characters.peek() {
                Some((_, '\'')) if quote == '\'' => drop(characters.next()),
                _ => return Some(at + 1),
            }
        }
    }
    None
}

fn string(text: &str) -> Result<String, String> {
    match text.as_bytes() {
        // Escapes of YAML that JSON has not are rare, and refused.
        [b'"', ..] => serde_json::from_str(text).map_err(|e| e.to_string()),
        [b'\'', inner @ .., b'\''] => Ok(String::from_utf8_lossy(inner).replace("''", "'")),
        _ => Err("string".into()),
    }
}

fn scalar(text: &str) -> Result<Value, String> {
    match text.as_bytes().first() {
        Some(b'"' | b'\'') if quoted_end(text) == Some(text.len()) => string(text).map(Value::String),
        Some(b'"' | b'\'') => Err("string".into()),
        // Flow collections that are JSON; in others, words have no quotes.
        Some(b'[' | b'{') => match serde_json::from_str(text) {
            Ok(value) => Ok(value),
            Err(_) => words(text),
        },
        Some(b'|' | b'>' | b'&' | b'*' | b'!' | b'%' | b'@' | b'`') => Err("character".into()),
        _ => Ok(plain(text)),
    }
}

/// `[a, b c]`
fn words(text: &str) -> Result<Value, String> {
    let inner = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .ok_or("collection")?;
    if inner.contains(['[', '{', '"', '\'']) {
        return Err("collection".into());
    }
    Ok(inner.split(',').map(|word| plain(word.trim())).collect())
}

fn plain(text: &str) -> Value {
    match text {
        "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// A leading zero means octal, which is how modes of files are written.
fn number(text: &str) -> Option<Number> {
    let octal = text
        .strip_prefix("0o")
        .or_else(|| text.strip_prefix('0').filter(|rest| !rest.is_empty()));
    if let Some(digits) = octal
        && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
    {
        return i64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    text.parse::<i64>().ok().map(Number::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_tools_write() {
        let text = "---\n# comment\ncdiVersion: 0.5.0\nkind: \"vendor.com/gpu\" # which\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
            deviceNodes:\n    - path: /dev/a#b\n      fileMode: 0660\n    - path: '/dev/it''s'\n      major: 195\n  \n- containerEdits: {}\n  \
            name: all\ncontainerEdits:\n  env:\n  - A=b c\n  - 'X: y'\n  hooks:\n    - args:\n        - a\n        - --x=1\n      \
            hookName: createContainer\n      path: /usr/bin/hook\n  mounts: []\n  words: [ro, nosuid]\n  none:\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({
                "cdiVersion": "0.5.0", "kind": "vendor.com/gpu",
                "devices": [
                    {"name": "0", "containerEdits": {"deviceNodes": [
                        {"path": "/dev/a#b", "fileMode": 0o660}, {"path": "/dev/it's", "major": 195}]}},
                    {"containerEdits": {}, "name": "all"},
                ],
                "containerEdits": {
                    "env": ["A=b c", "X: y"],
                    "hooks": [{"args": ["a", "--x=1"], "hookName": "createContainer", "path": "/usr/bin/hook"}],
                    "mounts": [], "words": ["ro", "nosuid"], "none": null,
                },
            })
        );
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(
            parse("-\n  a: 1\n- - x\n  - y\n").unwrap(),
            json!([{"a": 1}, ["x", "y"]])
        );
        assert_eq!(
            parse("a: {\"b\": [1]}\n\"k: k\": v").unwrap(),
            json!({"a": {"b": [1]}, "k: k": "v"})
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "a: |\n  text",
            "a: &x b",
            "a: *x",
            "a: 1\na: 2",
            "a: 1\n   b: 2",
            "\ta: 1",
            "a: \"x",
            "a: {b: c}",
            "- a\nb: c",
            "a: 'x' y",
        ] {
            assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
        }
        let deep: String = (0..100).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert!(parse(&deep).is_err());
    }
}
