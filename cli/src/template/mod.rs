//! Go's text/template, for `--format`: the language of Go 1.24 with the functions that Docker adds.
//!
//! May not: do I/O, know a command. Values come in as [`Value`], text goes out; errors are Go's sentences, because scripts
//! and people know them. See docs/decisions/0011-own-go-templates.md.

mod exec;
mod funcs;
mod json;
mod lex;
mod parse;
mod printing;
pub mod value;

pub use exec::MissingKey;
pub use funcs::Functions;
pub use json::{compact, indented};
pub use printing::{general, quote, sprint};
pub use value::{Map, Struct, Value};

use parse::Definition;
use std::collections::BTreeMap;

/// A parsed template and those that it defines.
#[derive(Debug)]
pub struct Template {
    /// Of the outermost one; part of every error.
    name: &'static str,
    text: String,
    definitions: BTreeMap<String, Definition>,
}

impl Template {
    /// Parses `text`. `name` appears in errors.
    ///
    /// # Errors
    /// `template: NAME:LINE: what is wrong`.
    pub fn parse(name: &'static str, text: &str) -> Result<Template, String> {
        Ok(Template {
            name,
            text: text.to_owned(),
            definitions: parse::parse(name, text)?,
        })
    }

    /// Executes it on `dot` and appends to `out`, which keeps what was written before an error.
    ///
    /// # Errors
    /// `template: NAME:LINE:COLUMN: executing "NAME" at <WHAT>: what is wrong`.
    pub fn execute(
        &self,
        out: &mut String,
        dot: &Value,
        functions: Functions,
        missing: MissingKey,
    ) -> Result<(), String> {
        exec::execute(self, out, dot, functions, missing)
    }

    /// Executes it with Docker's functions; absent keys read as `<no value>`.
    ///
    /// # Errors
    /// As [`Template::execute`].
    pub fn render(&self, dot: &Value) -> Result<String, String> {
        let mut out = String::new();
        self.execute(&mut out, dot, Functions::Docker, MissingKey::NoValue)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
