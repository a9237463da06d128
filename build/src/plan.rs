//! From a file to its graph: the order in which the rooms are asked.
//!
//! May not: go on to what instructions come to ([`crate::scope`]): that needs the images that stages begin from.

use crate::directives::{self, Directive};
use crate::instruction;
use crate::lint::{self, Config, Report};
use crate::source::{Problem, Source, Span};
use crate::stages::{Graph, Request};

/// Build arguments that stand for directives.
const SYNTAX_ARG: &str = "BUILDKIT_SYNTAX";
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What came of a file.
pub struct Plan {
    /// All that is wrong with it, or what is to be done.
    pub graph: Result<Graph, Vec<Problem>>,
    /// What should be otherwise, wrong or not.
    pub report: Report,
}

/// Reads a file for a request.
pub fn plan(source: &Source, request: &Request) -> Plan {
    let mut report = Report::default();
    let graph = read(source, request, &mut report);
    Plan { graph, report }
}

fn read(source: &Source, request: &Request, report: &mut Report) -> Result<Graph, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let given = |name: &str| {
        let value = request.build_args.get(name)?;
        Some(Directive {
            value: value.clone(),
            span: Span::default(),
        })
    };
    if let Some(syntax) = given(SYNTAX_ARG).or_else(|| directives::syntax(source)) {
        directives::known_frontend(&syntax).map_err(one)?;
    }
    if let Some(check) = given(CHECK_ARG).or_else(|| directives::check(source)) {
        let config = Config::parse(&check.value).map_err(|e| {
            one(Problem::new(
                check.span,
                format!("failed to parse check options: {e}"),
            ))
        })?;
        *report = Report::new(config);
    }
    let file = instruction::read(source)?;
    lint::written(&file, report);
    Graph::build(file, request, report).map_err(one)
}
