//! `conformance-probe`: the program that runs inside the container. It asserts nothing and knows no expectation: it
//! does what its arguments say and reports, one line of JSON on stdout for each verb; the host judges.
//!
//! ```text
//! conformance-probe VERB [ARG...] [-- VERB [ARG...]]...
//! ```
//!
//! It uses only std, because `build.rs` compiles it by itself as a static program and puts it into `conformance`.

mod facts;
mod json;
mod kernel;
mod verbs;

fn main() {
    let all: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let mut held = verbs::Held::default();
    for step in all[1.min(all.len())..].split(|a| a == "--") {
        if let [verb, args @ ..] = step {
            verbs::run(verb, args, &mut held, &all);
        }
    }
}
