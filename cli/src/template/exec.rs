//! The execution of a template.
//!
//! May not: parse. An error says where by the operand that was looked at last, as Go does.

use super::Template;
use super::funcs::{self, Functions, Takes};
use super::parse::{Branch, Call, Command, Node, Pipe, What, Word};
use super::printing::{print, quote};
use super::value::{Shape, Value};
use std::cell::Cell;
use std::fmt::Display;

/// Templates that call each other so deep are a loop. Go allows 100000, on a stack that grows.
const DEPTH: usize = 1000;

/// What an absent key of a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// `<no value>`
    NoValue,
    /// An error: Docker's second attempt at `inspect`.
    Error,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Something an error can point at.
trait Place: Display {
    fn at(&self) -> usize;
}

impl Place for Word {
    fn at(&self) -> usize {
        self.at
    }
}

impl Place for Command {
    fn at(&self) -> usize {
        self.at
    }
}

impl Place for Pipe {
    fn at(&self) -> usize {
        self.at
    }
}

impl Place for Call {
    fn at(&self) -> usize {
        self.at
    }
}

/// See [`Template::execute`].
pub(super) fn execute(
    template: &Template,
    out: &mut String,
    dot: &Value,
    functions: Functions,
    missing: MissingKey,
) -> Result<()> {
    let Some(main) = template.definitions.get(template.name) else {
        return Ok(());
    };
    let mut run = Run {
        template,
        name: template.name,
        out,
        functions,
        missing,
        variables: vec![("$".to_owned(), dot.clone())],
        place: Cell::new(None),
        depth: 0,
    };
    run.list(&main.body, dot).map(drop)
}

struct Run<'t, 'o> {
    template: &'t Template,
    /// Of the template that is executed now.
    name: &'t str,
    out: &'o mut String,
    functions: Functions,
    missing: MissingKey,
    variables: Vec<(String, Value)>,
    place: Cell<Option<&'t dyn Place>>,
    depth: usize,
}

type Result<T> = std::result::Result<T, String>;

impl<'t> Run<'t, '_> {
    fn at(&self, place: &'t dyn Place) {
        self.place.set(Some(place));
    }

    fn fail<T>(&self, message: &str) -> Result<T> {
        let Some(place) = self.place.get() else {
            return Err(format!("template: {}: {message}", self.name));
        };
        let before = &self.template.text[..place.at().min(self.template.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1);
        Err(format!(
            "template: {}:{line}:{column}: executing {} at <{place}>: {message}",
            self.template.name,
            quote(self.name)
        ))
    }

    fn list(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Result<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.targets.is_empty() {
                    self.at(pipe);
                    self.show(&value, pipe)?;
                }
            }
            Node::If(branch) => return self.choose(branch, dot, |dot, _| dot),
            Node::With(branch) => return self.choose(branch, dot, |_, value| value),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template(call) => self.call_template(call, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn show(&mut self, value: &Value, pipe: &Pipe) -> Result<()> {
        match value {
            Value::Missing | Value::Nil => self.out.push_str("<no value>"),
            Value::Method(_) => {
                return self.fail(&format!("can't print {{{{{pipe}}}}} of type {}", value.kind()));
            }
            value => print(self.out, value),
        }
        Ok(())
    }

    fn choose(
        &mut self,
        branch: &'t Branch,
        dot: &Value,
        inner: for<'v> fn(&'v Value, &'v Value) -> &'v Value,
    ) -> Result<Flow> {
        let kept = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            self.list(&branch.body, inner(dot, &value))?
        } else {
            self.list(&branch.otherwise, dot)?
        };
        self.variables.truncate(kept);
        Ok(flow)
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Result<Flow> {
        let kept = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let rounds: Vec<(Value, Value)> = match &value {
            Value::Missing | Value::Nil => Vec::new(),
            Value::List(list) => (0..).map(Value::Int).zip(list.items.iter().cloned()).collect(),
            Value::Map(map) => map
                .entries
                .iter()
                .map(|(key, item)| (key.as_str().into(), item.clone()))
                .collect(),
            Value::Int(_) | Value::Uint(_) if branch.pipe.targets.len() > 1 => {
                let mut shown = String::new();
                print(&mut shown, &value);
                return self.fail(&format!(
                    "can't use {shown} to iterate over more than one variable"
                ));
            }
            Value::Int(n) => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            other => {
                let mut shown = String::new();
                print(&mut shown, other);
                return self.fail(&format!("range can't iterate over {shown}"));
            }
        };
        let mark = self.variables.len();
        for (key, item) in &rounds {
            match branch.pipe.targets.as_slice() {
                [element] => self.set(element, item)?,
                [index, element] => {
                    self.set(index, key)?;
                    self.set(element, item)?;
                }
                _ => {}
            }
            let flow = self.list(&branch.body, item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if rounds.is_empty() {
            self.list(&branch.otherwise, dot)?
        } else {
            Flow::Next
        };
        self.variables.truncate(kept);
        Ok(flow)
    }

    /// The innermost variable of that name gets the value: `range` has declared its own before the first round.
    fn set(&mut self, name: &str, value: &Value) -> Result<()> {
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some((_, slot)) => *slot = value.clone(),
            None => return self.fail(&format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn call_template(&mut self, call: &'t Call, dot: &Value) -> Result<()> {
        self.at(call);
        let Some((name, definition)) = self.template.definitions.get_key_value(&call.name) else {
            return self.fail(&format!("template {} not defined", quote(&call.name)));
        };
        if self.depth == DEPTH {
            return self.fail(&format!("exceeded maximum template depth ({DEPTH})"));
        }
        let dot = match &call.pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Missing,
        };
        let outer_variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.depth += 1;
        self.list(&definition.body, &dot)?;
        self.depth -= 1;
        self.name = outer_name;
        self.variables = outer_variables;
        Ok(())
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value> {
        self.at(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for target in &pipe.targets {
            if pipe.assigns {
                self.set(target, &value)?;
            } else {
                self.variables.push((target.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    /// `last` is what came through the pipe.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value> {
        let first = &command.words[0];
        let arguments = &command.words[1..];
        match &first.what {
            What::Field(names) => {
                self.at(first);
                return self.fields(dot, dot, first, names, arguments, last);
            }
            What::Chain(..) => return self.chain(dot, first, arguments, last),
            What::Identifier(name) => {
                return self.function(dot, first, name, Some(command), arguments, last);
            }
            What::Pipe(pipe) => {
                self.no_arguments(first, arguments, last.as_ref())?;
                return self.pipe(dot, pipe);
            }
            What::Variable(name, names) => {
                return self.variable(dot, first, (name, names), arguments, last);
            }
            _ => {}
        }
        self.at(first);
        self.no_arguments(first, arguments, last.as_ref())?;
        match &first.what {
            What::Dot => Ok(dot.clone()),
            What::Bool(b) => Ok((*b).into()),
            What::Number(_, value) => Ok(value.clone()),
            What::Text(_, text) => Ok(text.as_str().into()),
            _ => self.fail("nil is not a command"),
        }
    }

    fn no_arguments(&self, word: &Word, arguments: &[Word], last: Option<&Value>) -> Result<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fail(&format!("can't give argument to non-function {word}"))
    }

    fn variable(
        &mut self,
        dot: &Value,
        word: &'t Word,
        (name, names): (&str, &'t [String]),
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        self.at(word);
        let found = self.variables.iter().rev().find(|(n, _)| n == name);
        let Some(value) = found.map(|(_, v)| v.clone()) else {
            return self.fail(&format!("undefined variable: {name}"));
        };
        if names.is_empty() {
            self.no_arguments(word, arguments, last.as_ref())?;
            return Ok(value);
        }
        self.fields(dot, &value, word, names, arguments, last)
    }

    fn chain(
        &mut self,
        dot: &Value,
        word: &'t Word,
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        self.at(word);
        let What::Chain(inner, names) = &word.what else {
            return Ok(Value::Missing);
        };
        let value = self.argument(dot, inner, Takes::Anything)?;
        self.fields(dot, &value, word, names, arguments, last)
    }

    /// `.A.B.C`: arguments belong to the last one.
    fn fields(
        &mut self,
        dot: &Value,
        receiver: &Value,
        word: &'t Word,
        names: &[String],
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        let Some((final_name, names)) = names.split_last() else {
            return Ok(receiver.clone());
        };
        let mut value = receiver.clone();
        for name in names {
            value = self.field(dot, &value, word, name, &[], None)?;
        }
        self.field(dot, &value, word, final_name, arguments, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        word: &'t Word,
        name: &str,
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        let has_arguments = !arguments.is_empty() || last.is_some();
        let found = match receiver {
            Value::Missing if self.missing == MissingKey::Error => {
                return self.fail(&format!("nil data; no entry for key {}", quote(name)));
            }
            Value::Missing => return Ok(Value::Missing),
            Value::Nil => return self.fail(&format!("nil pointer evaluating interface {{}}.{name}")),
            Value::NilPointer(kind) => {
                return self.fail(&format!("nil pointer evaluating {kind}.{name}"));
            }
            Value::Struct(s) => s.field(name).cloned(),
            Value::Map(map) => {
                let method = map.methods.get(name);
                if method.is_none() && has_arguments {
                    return self.fail(&format!("{name} is not a method but has arguments"));
                }
                match method.or_else(|| map.entries.get(name)) {
                    Some(value) => Some(value.clone()),
                    None if self.missing == MissingKey::Error => {
                        return self.fail(&format!("map has no entry for key {}", quote(name)));
                    }
                    None => return Ok(Value::Missing),
                }
            }
            _ => None,
        };
        let Some(value) = found else {
            return self.fail(&format!(
                "can't evaluate field {name} in type {}",
                pointed(receiver)
            ));
        };
        match &value {
            Value::Method(method) => {
                let mut values = Vec::new();
                for argument in arguments {
                    values.push(self.argument(dot, argument, Takes::Text)?);
                }
                values.extend(last);
                self.at(word);
                if values.len() != method.arguments {
                    return self.fail(&format!(
                        "wrong number of args for {name}: want {} got {}",
                        method.arguments,
                        values.len()
                    ));
                }
                (method.call)(&values).or_else(|e| self.fail(&format!("error calling {name}: {e}")))
            }
            _ if has_arguments && is_row(receiver) => {
                let given = arguments.len() + usize::from(last.is_some());
                self.fail(&format!("wrong number of args for {name}: want 0 got {given}"))
            }
            _ if has_arguments => {
                self.fail(&format!("{name} has arguments but cannot be invoked as function"))
            }
            _ => Ok(value),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        word: &'t Word,
        name: &str,
        command: Option<&'t Command>,
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        self.at(word);
        let Some(function) = funcs::find(name, self.functions) else {
            return self.fail(&format!("{} is not a defined function", quote(name)));
        };
        let given = arguments.len() + usize::from(last.is_some());
        if function.variadic && given < function.least() {
            return self.fail(&format!(
                "wrong number of args for {name}: want at least {} got {given}",
                function.least()
            ));
        }
        if !function.variadic && given != function.takes.len() {
            return self.fail(&format!(
                "wrong number of args for {name}: want {} got {given}",
                function.takes.len()
            ));
        }
        if name == "and" || name == "or" {
            return self.short_circuit(dot, name == "or", arguments, last);
        }
        let mut values = Vec::with_capacity(given);
        for (n, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, argument, function.take(n))?);
        }
        if let Some(last) = last {
            let takes = function.take(values.len());
            values.push(self.checked(last, takes)?);
        }
        function.call(&values).or_else(|e| {
            match command {
                Some(command) => self.at(command),
                None => self.at(word),
            }
            self.fail(&format!("error calling {name}: {e}"))
        })
    }

    /// `and` and `or` evaluate no further than they have to.
    fn short_circuit(
        &mut self,
        dot: &Value,
        until: bool,
        arguments: &'t [Word],
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = Value::Missing;
        for argument in arguments {
            value = self.argument(dot, argument, Takes::Anything)?;
            if value.is_true() == until {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(&mut self, dot: &Value, word: &'t Word, takes: Takes) -> Result<Value> {
        self.at(word);
        let value = match &word.what {
            What::Dot => dot.clone(),
            What::Nil if takes == Takes::Anything => return Ok(Value::Nil),
            What::Nil => return self.fail(&format!("cannot assign nil to {}", wanted(takes))),
            What::Field(names) => self.fields(dot, dot, word, names, &[], None)?,
            What::Variable(name, names) => self.variable(dot, word, (name, names), &[], None)?,
            What::Pipe(pipe) => self.pipe(dot, pipe)?,
            What::Identifier(name) => self.function(dot, word, name, None, &[], None)?,
            What::Chain(..) => self.chain(dot, word, &[], None)?,
            What::Bool(_) | What::Number(..) | What::Text(..) => {
                let value = match &word.what {
                    What::Bool(b) => (*b).into(),
                    What::Number(_, value) => value.clone(),
                    What::Text(_, text) => text.as_str().into(),
                    _ => Value::Missing,
                };
                return match (takes, &value) {
                    (Takes::Text, Value::Text(_))
                    | (Takes::Integer, Value::Int(_))
                    | (Takes::Anything, _) => Ok(value),
                    (Takes::Text, _) => self.fail(&format!("expected string; found {word}")),
                    (Takes::Integer, _) => self.fail(&format!("expected integer; found {word}")),
                };
            }
        };
        self.checked(value, takes)
    }

    fn checked(&self, value: Value, takes: Takes) -> Result<Value> {
        match (takes, &value) {
            (Takes::Anything, Value::Missing) => Ok(Value::Nil),
            (Takes::Anything, _) | (Takes::Text, Value::Text(_)) | (Takes::Integer, Value::Int(_)) => {
                Ok(value)
            }
            (_, Value::Missing | Value::Nil) => {
                self.fail(&format!("invalid value; expected {}", wanted(takes)))
            }
            (_, other) => self.fail(&format!(
                "wrong type for value; expected {}; got {}",
                wanted(takes),
                other.kind()
            )),
        }
    }
}

fn wanted(takes: Takes) -> &'static str {
    match takes {
        Takes::Anything => "interface {}",
        Takes::Text => "string",
        Takes::Integer => "int",
    }
}

fn is_row(value: &Value) -> bool {
    matches!(value, Value::Struct(s) if s.shape == Shape::Row)
}

/// Rows are pointers to structs in Go.
fn pointed(value: &Value) -> String {
    let star = if is_row(value) { "*" } else { "" };
    format!("{star}{}", value.kind())
}
