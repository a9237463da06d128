//! The functions of templates: Go's own and Docker's.
//!
//! May not: know the tree. Arguments arrive evaluated and checked against [`Function::takes`].

use super::json;
use super::printing::{sprint, sprintf, sprintln};
use super::value::Value;
use std::cmp::Ordering;

/// Which meaning Docker's functions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// Their own.
    Docker,
    /// For the line of headers: most return their first argument, so the header stays what it is.
    Headers,
}

/// What an argument has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Anything,
    Text,
    Integer,
}

/// One function.
pub struct Function {
    pub name: &'static str,
    pub takes: &'static [Takes],
    /// The last one may come any number of times.
    pub variadic: bool,
    call: fn(&[Value]) -> Result<Value, String>,
}

use Takes::{Anything, Integer, Text};

const fn fixed(
    name: &'static str,
    takes: &'static [Takes],
    call: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function {
        name,
        takes,
        variadic: false,
        call,
    }
}

const fn variadic(
    name: &'static str,
    takes: &'static [Takes],
    call: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function {
        name,
        takes,
        variadic: true,
        call,
    }
}

/// `and` and `or` are here for their number of arguments; the execution evaluates them itself.
static OWN: [Function; 19] = [
    variadic("and", &[Anything, Anything], |a| Ok(a[0].clone())),
    variadic("or", &[Anything, Anything], |a| Ok(a[0].clone())),
    fixed("not", &[Anything], |a| Ok((!a[0].is_true()).into())),
    variadic("eq", &[Anything, Anything], equal_to_any),
    fixed(
        "ne",
        &[Anything, Anything],
        |a| Ok((!equal(&a[0], &a[1])?).into()),
    ),
    fixed("lt", &[Anything, Anything], |a| Ok(less(&a[0], &a[1])?.into())),
    fixed("le", &[Anything, Anything], |a| {
        Ok((less(&a[0], &a[1])? || equal(&a[0], &a[1])?).into())
    }),
    fixed("gt", &[Anything, Anything], |a| {
        Ok((!(less(&a[0], &a[1])? || equal(&a[0], &a[1])?)).into())
    }),
    fixed("ge", &[Anything, Anything], |a| Ok((!less(&a[0], &a[1])?).into())),
    fixed("len", &[Anything], |a| length(&a[0])),
    variadic("index", &[Anything, Anything], |a| {
        a[1..].iter().try_fold(a[0].clone(), |item, at| index(&item, at))
    }),
    variadic("slice", &[Anything, Anything], slice),
    variadic("print", &[Anything], |a| Ok(sprint(a).into())),
    variadic("printf", &[Text, Anything], |a| {
        Ok(sprintf(a[0].as_text().unwrap_or_default(), &a[1..]).into())
    }),
    variadic("println", &[Anything], |a| Ok(sprintln(a).into())),
    variadic("html", &[Anything], |a| Ok(escape_html(&sprint(a)).into())),
    variadic("js", &[Anything], |a| Ok(escape_js(&sprint(a)).into())),
    variadic("urlquery", &[Anything], |a| Ok(escape_query(&sprint(a)).into())),
    variadic("call", &[Anything, Anything], |a| match &a[0] {
        Value::Missing | Value::Nil => Err("call of nil".to_owned()),
        other => Err(format!(
            "non-function {} of type {}",
            sprint(std::slice::from_ref(other)),
            other.kind()
        )),
    }),
];

static DOCKER: [Function; 8] = [
    fixed("json", &[Anything], |a| Ok(json::compact(&a[0]).into())),
    fixed("split", &[Text, Text], |a| {
        Ok(split(text(a, 0), text(a, 1)).into())
    }),
    fixed("join", &[Anything, Text], join),
    fixed("title", &[Text], |a| Ok(title(text(a, 0)).into())),
    fixed("lower", &[Text], |a| Ok(text(a, 0).to_lowercase().into())),
    fixed("upper", &[Text], |a| Ok(text(a, 0).to_uppercase().into())),
    fixed("pad", &[Text, Integer, Integer], pad),
    fixed("truncate", &[Text, Integer], |a| {
        Ok(truncate(text(a, 0), int(a, 1)).into())
    }),
];

static HEADERS: [Function; 7] = [
    fixed("json", &[Text], |a| Ok(a[0].clone())),
    fixed("split", &[Text, Text], |a| Ok(a[0].clone())),
    fixed("join", &[Text, Text], |a| Ok(a[0].clone())),
    fixed("title", &[Text], |a| Ok(a[0].clone())),
    fixed("lower", &[Text], |a| Ok(a[0].clone())),
    fixed("upper", &[Text], |a| Ok(a[0].clone())),
    fixed("truncate", &[Text, Integer], |a| Ok(a[0].clone())),
];

/// Whether there is a function of that name.
pub fn exists(name: &str) -> bool {
    find(name, Functions::Docker).is_some()
}

/// The function of that name.
pub fn find(name: &str, functions: Functions) -> Option<&'static Function> {
    let of = |table: &'static [Function]| table.iter().find(|f| f.name == name);
    let header = if functions == Functions::Headers {
        of(&HEADERS)
    } else {
        None
    };
    header.or_else(|| of(&DOCKER)).or_else(|| of(&OWN))
}

impl Function {
    /// How many arguments it must have at least.
    pub fn least(&self) -> usize {
        self.takes.len() - usize::from(self.variadic)
    }

    /// What argument `n` has to be.
    pub fn take(&self, n: usize) -> Takes {
        self.takes
            .get(n)
            .or(self.takes.last())
            .copied()
            .unwrap_or(Anything)
    }

    /// Calls it with as many arguments as it takes.
    pub fn call(&self, arguments: &[Value]) -> Result<Value, String> {
        (self.call)(arguments)
    }
}

fn text(arguments: &[Value], n: usize) -> &str {
    arguments.get(n).and_then(Value::as_text).unwrap_or_default()
}

fn int(arguments: &[Value], n: usize) -> i64 {
    match arguments.get(n) {
        Some(Value::Int(n)) => *n,
        _ => 0,
    }
}

// ---- comparing ---------------------------------------------------------------------------------------------------

const BAD_TYPE: &str = "invalid type for comparison";
const BAD_PAIR: &str = "incompatible types for comparison";

fn equal_to_any(arguments: &[Value]) -> Result<Value, String> {
    let [first, others @ ..] = arguments else {
        return Err("missing argument for comparison".to_owned());
    };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => Ok(true),
        (Value::Missing | Value::Nil, other) | (other, Value::Missing | Value::Nil) => match other {
            Value::NilPointer(_) => Ok(true),
            Value::List(list) => Ok(list.is_nil),
            Value::Map(map) => Ok(map.is_nil),
            Value::Struct(_) => Ok(false),
            _ => Ok(false),
        },
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => Ok(whole(a) == whole(b)),
        (Value::NilPointer(a), Value::NilPointer(b)) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Method(_), _) => Err(format!(
            "non-comparable type {}: {}",
            sprint(std::slice::from_ref(a)),
            a.kind()
        )),
        (_, Value::List(_) | Value::Map(_) | Value::Method(_)) => Err(format!(
            "non-comparable type {}: {}",
            sprint(std::slice::from_ref(b)),
            b.kind()
        )),
        _ => Err(BAD_PAIR.to_owned()),
    }
}

fn whole(value: &Value) -> i128 {
    match value {
        Value::Int(n) => i128::from(*n),
        Value::Uint(n) => i128::from(*n),
        _ => 0,
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    let order = match (a, b) {
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => a.cmp(b),
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => whole(a).cmp(&whole(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Greater),
        (a, b) if is_basic(a) && is_basic(b) => {
            let same = std::mem::discriminant(a) == std::mem::discriminant(b);
            return Err(if same { BAD_TYPE } else { BAD_PAIR }.to_owned());
        }
        _ => return Err(BAD_TYPE.to_owned()),
    };
    Ok(order == Ordering::Less)
}

fn is_basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Duration(_)
            | Value::Uint(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Number(_)
    )
}

// ---- parts of things ---------------------------------------------------------------------------------------------

fn length(value: &Value) -> Result<Value, String> {
    let n = match value {
        Value::Text(t) | Value::Number(t) => t.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::NilPointer(_) => return Err("len of nil pointer".to_owned()),
        // Not a good sentence, but Go's.
        Value::Missing | Value::Nil => {
            return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
        }
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn position(at: &Value, length: usize) -> Result<usize, String> {
    let n = match at {
        Value::Int(_) | Value::Uint(_) => whole(at),
        Value::Missing | Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.kind())),
    };
    usize::try_from(n)
        .ok()
        .filter(|n| *n <= length)
        .ok_or_else(|| format!("index out of range: {n}"))
}

fn index(item: &Value, at: &Value) -> Result<Value, String> {
    match item {
        Value::Missing | Value::Nil => Err("index of untyped nil".to_owned()),
        Value::NilPointer(_) => Err("index of nil pointer".to_owned()),
        Value::List(list) => {
            let n = position(at, list.items.len())?;
            list.items
                .get(n)
                .cloned()
                .ok_or_else(|| format!("index out of range: {n}"))
        }
        Value::Text(t) => {
            let n = position(at, t.len())?;
            let byte = t
                .as_bytes()
                .get(n)
                .ok_or_else(|| format!("index out of range: {n}"))?;
            Ok(Value::Uint(u64::from(*byte)))
        }
        Value::Map(map) => match at {
            Value::Text(key) => Ok(map.entries.get(&**key).cloned().unwrap_or_else(|| zero(map.kind))),
            Value::Missing | Value::Nil => Err("value is nil; should be of type string".to_owned()),
            other => Err(format!("value has type {}; should be string", other.kind())),
        },
        other => Err(format!("can't index item of type {}", other.kind())),
    }
}

/// What an absent key of a map reads as.
fn zero(map: &str) -> Value {
    match map {
        "map[string]string" => "".into(),
        _ => Value::Missing,
    }
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let item = &arguments[0];
    let length = match item {
        Value::Missing | Value::Nil => return Err("slice of untyped nil".to_owned()),
        Value::Text(t) => t.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.kind())),
    };
    if arguments.len() > 4 {
        return Err(format!("too many slice indexes: {}", arguments.len() - 1));
    }
    if arguments.len() == 4 && matches!(item, Value::Text(_)) {
        return Err("cannot 3-index slice a string".to_owned());
    }
    let mut bounds = [0, length, length];
    for (n, at) in arguments[1..].iter().enumerate() {
        bounds[n] = position(at, length)?;
    }
    let [from, to, limit] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > limit {
        return Err(format!("invalid slice index: {to} > {limit}"));
    }
    Ok(match item {
        Value::List(list) => Value::list(list.kind, list.items[from..to].to_vec()),
        // Go cuts bytes; half a character prints as the replacement character there as well once JSON has it.
        Value::Text(t) => String::from_utf8_lossy(&t.as_bytes()[from..to])
            .into_owned()
            .into(),
        _ => Value::Missing,
    })
}

// ---- escaping ----------------------------------------------------------------------------------------------------

fn escape_html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

// ---- Docker's ----------------------------------------------------------------------------------------------------

fn split(text: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(separator).map(str::to_owned).collect()
}

fn join(arguments: &[Value]) -> Result<Value, String> {
    let separator = text(arguments, 1);
    let words: Vec<String> = match &arguments[0] {
        Value::Missing | Value::Nil => return Ok("".into()),
        Value::List(list) => list
            .items
            .iter()
            .map(|v| sprint(std::slice::from_ref(v)))
            .collect(),
        Value::Map(map) => {
            let mut words: Vec<String> = map
                .entries
                .values()
                .map(|v| sprint(std::slice::from_ref(v)))
                .collect();
            words.sort();
            words
        }
        other => return Err(format!("expected slice, got {}", other.kind())),
    };
    Ok(words.join(separator).into())
}

/// strings.Title: a capital behind whatever is no letter, digit or underscore.
fn title(text: &str) -> String {
    let mut behind_word = false;
    let mut out = String::new();
    for c in text.chars() {
        if behind_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        behind_word = c == '_' || c.is_alphanumeric() || !(c.is_ascii() || c.is_whitespace());
    }
    out
}

fn pad(arguments: &[Value]) -> Result<Value, String> {
    let text = text(arguments, 0);
    if text.is_empty() {
        return Ok("".into());
    }
    let spaces = |n: i64| usize::try_from(n).map(|n| " ".repeat(n.min(1 << 16)));
    match (spaces(int(arguments, 1)), spaces(int(arguments, 2))) {
        (Ok(before), Ok(after)) => Ok(format!("{before}{text}{after}").into()),
        _ => Err("strings: negative Repeat count".to_owned()),
    }
}

/// By bytes, as Docker does it; half a character is left out.
fn truncate(text: &str, length: i64) -> String {
    let length = usize::try_from(length).unwrap_or(0);
    if text.len() < length {
        return text.to_owned();
    }
    let mut end = length;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
