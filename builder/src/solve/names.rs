//! How a step is called in the progress: `[stage 2/5] RUN make`.
//!
//! May not: be long: BuildKit's names have one line.

use build::instruction::Body;
use build::stages::{Graph, Origin, Stage, Step};
use image::reference::Reference;

/// Whether an instruction is a step that people see: one that makes files.
pub fn is_seen(step: &Step) -> bool {
    matches!(
        step.instruction.body,
        Body::Run(_) | Body::Copy(_) | Body::Workdir(_)
    )
}

/// Of the step that a stage begins with: the image by its whole name.
pub fn of_base(graph: &Graph, stage: &Stage, platform: Option<&str>) -> String {
    let text = match &stage.base {
        Origin::Image(name) => match name.parse::<Reference>() {
            Ok(reference) => format!("FROM {}", reference.or_latest()),
            Err(_) => stage.from.text.clone(),
        },
        _ => stage.from.text.clone(),
    };
    of_step(graph, stage, 1, &text, platform)
}

/// A heredoc by its first line.
fn heredoc(first: &str, rest: &str) -> String {
    let content: Vec<&str> = rest.trim_end().lines().collect();
    match content.as_slice() {
        [] => first.to_owned(),
        // The last one is its end.
        [only] | [only, _] => format!("{first} ({only})"),
        [only, ..] => format!("{first} ({only}...)"),
    }
}

/// Of the `n`th step of a stage, FROM being the first. `platform`: where there are several.
pub fn of_step(graph: &Graph, stage: &Stage, n: usize, text: &str, platform: Option<&str>) -> String {
    let total = 1 + stage.steps.iter().filter(|step| is_seen(step)).count();
    let needed = graph.stages.iter().filter(|stage| stage.is_needed).count();
    let mut place = String::new();
    if let Some(platform) = platform {
        place.push_str(platform);
        place.push(' ');
    }
    if stage.is_named || needed > 1 {
        place.push_str(&stage.name);
        place.push(' ');
    }
    let width = total.to_string().len();
    let text = match text.split_once('\n') {
        Some((first, rest)) => heredoc(first, rest),
        None => text.to_owned(),
    };
    format!("[{place}{n:>width$}/{total}] {text}")
}
