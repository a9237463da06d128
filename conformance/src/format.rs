//! Verdicts as text. Decides nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::scheduler::{Subject, Verdict};
use crate::worker::Outcome;

/// The formats of `run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Human,
    /// Test Anything Protocol, version 13.
    Tap,
    /// One object.
    Json,
    /// JUnit XML.
    Junit,
}

impl Format {
    /// By name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "human" => Some(Format::Human),
            "tap" => Some(Format::Tap),
            "json" => Some(Format::Json),
            "junit" => Some(Format::Junit),
            _ => None,
        }
    }
}

/// The word for a verdict.
#[must_use]
pub fn word(v: &Verdict) -> &'static str {
    match (v.finding.outcome, v.as_expected()) {
        (Outcome::Skip, _) => "skip",
        (Outcome::Pass, true) => "ok",
        (Outcome::Pass, false) => "UNEXPECTED PASS",
        (Outcome::Fail, true) => "known",
        (Outcome::Fail, false) => "FAIL",
    }
}

/// One verdict for people, without colour: it is read in logs too.
#[must_use]
pub fn human_line(v: &Verdict, verbose: bool) -> String {
    if v.finding.outcome == Outcome::Skip {
        return format!("skip {}: {}\n", v.case.id, v.finding.why.join("; "));
    }
    let again = match v.tries {
        1 => String::new(),
        n => format!(", try {n}"),
    };
    let mut text = format!("{:<16}{} ({} ms{again})\n", word(v), v.case.id, v.finding.millis);
    let bad = !v.as_expected();
    if bad || verbose {
        for why in &v.finding.why {
            let _ = writeln!(text, "                  {why}");
        }
    }
    if let Some(known) = &v.known {
        let _ = writeln!(text, "                  known: {}", known.reason);
    }
    if bad || verbose {
        let _ = writeln!(text, "                  clause: {}", v.case.clause);
        for line in v.finding.transcript.iter().flat_map(|t| t.lines()) {
            let _ = writeln!(text, "                  | {line}");
        }
    }
    text
}

/// The last lines for people.
#[must_use]
pub fn human_summary(subject: &Subject, all: &[Verdict]) -> String {
    let count = |w: &str| all.iter().filter(|v| word(v) == w).count();
    let mut text = format!(
        "\n{}: {} cases: {} passed, {} failed, {} known deviations, {} unexpected passes, {} skipped\n",
        subject.version,
        all.len(),
        count("ok"),
        count("FAIL"),
        count("known"),
        count("UNEXPECTED PASS"),
        count("skip")
    );
    for v in all.iter().filter(|v| !v.as_expected()) {
        let _ = writeln!(text, "  {} {}", word(v), v.case.id);
    }
    text
}

/// The whole of a run as TAP.
#[must_use]
pub fn tap(all: &[Verdict]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", all.len());
    for (i, v) in all.iter().enumerate() {
        let ok = if v.finding.outcome == Outcome::Fail {
            "not ok"
        } else {
            "ok"
        };
        let directive = match (v.finding.outcome, &v.known) {
            (Outcome::Skip, _) => format!(" # SKIP {}", v.finding.why.join("; ")),
            (_, Some(known)) => format!(" # TODO {}", known.reason),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{ok} {} - {}{}",
            i + 1,
            v.case.id,
            directive.replace('\n', " ")
        );
        if v.finding.outcome == Outcome::Fail {
            for line in v.finding.why.iter().flat_map(|w| w.lines()) {
                let _ = writeln!(text, "# {line}");
            }
        }
    }
    text
}

/// The whole of a run as JSON.
#[must_use]
pub fn json(subject: &Subject, all: &[Verdict]) -> Value {
    let cases: Vec<Value> = all
        .iter()
        .map(|v| {
            json!({
                "id": v.case.id, "clause": v.case.clause, "level": v.case.level, "outcome": v.finding.outcome,
                "expected": v.as_expected(), "known": v.known.as_ref().map(|k| &k.reason), "why": v.finding.why, "millis": v.finding.millis,
                "tries": v.tries,
            })
        })
        .collect();
    json!({"runtime": subject.name, "version": subject.version, "path": subject.path, "cases": cases})
}

/// The whole of a run as JUnit XML.
#[must_use]
pub fn junit(subject: &Subject, all: &[Verdict]) -> String {
    let failures = all.iter().filter(|v| !v.as_expected()).count();
    let skips = all.iter().filter(|v| v.finding.outcome == Outcome::Skip).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skips}\">\n",
        escape(&subject.version),
        all.len()
    );
    for v in all {
        let seconds = v.finding.millis as f64 / 1000.0;
        let _ = write!(
            text,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">",
            v.case.area(),
            v.case.id
        );
        let why = escape(&v.finding.why.join("\n"));
        match word(v) {
            "skip" => drop(write!(text, "<skipped message=\"{why}\"/>")),
            "FAIL" => drop(write!(
                text,
                "<failure message=\"{}\">{why}</failure>",
                escape(v.case.clause)
            )),
            "UNEXPECTED PASS" => {
                text.push_str("<failure message=\"passed although listed as a known deviation\"/>")
            }
            _ => {}
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n");
    text
}

fn escape(s: &str) -> String {
    s.chars()
        .map(|c| match c {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '&' => "&amp;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' => "&#10;".to_owned(),
            c if c.is_control() => String::new(),
            c => c.to_string(),
        })
        .collect()
}

/// Clause by runtime as a Markdown table: how many of its cases pass, of how many that could be judged.
#[must_use]
pub fn matrix(runs: &[(Subject, Vec<Verdict>)]) -> String {
    let mut rows: BTreeMap<&str, Vec<[usize; 3]>> = BTreeMap::new();
    for (column, (_, verdicts)) in runs.iter().enumerate() {
        for v in verdicts {
            let row = rows
                .entry(v.case.clause)
                .or_insert_with(|| vec![[0; 3]; runs.len()]);
            let slot = match v.finding.outcome {
                Outcome::Pass => 0,
                Outcome::Fail => 1,
                Outcome::Skip => 2,
            };
            row[column][slot] += 1;
        }
    }
    let mut text = String::from("| clause |");
    for (s, _) in runs {
        let _ = write!(text, " {} |", s.version);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(runs.len()));
    text.push('\n');
    for (clause, cells) in rows {
        let _ = write!(text, "| {} |", clause.replace('|', "\\|"));
        for [pass, fail, skip] in cells {
            let _ = match (pass, fail, skip) {
                (0, 0, _) => write!(text, " not judged |"),
                (_, 0, 0) => write!(text, " {pass}/{pass} |"),
                (_, 0, _) => write!(text, " {pass}/{pass} ({skip} not judged) |"),
                _ => write!(text, " **{pass}/{}** |", pass + fail),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::expectation::Known;
    use crate::worker::Finding;

    static CASE: Case = Case {
        id: "area.name",
        clause: "a <clause>",
        ..Case::RUN
    };

    fn verdict(outcome: Outcome, known: Option<&str>) -> Verdict {
        let finding = Finding {
            outcome,
            why: vec!["because \"x\"".into()],
            transcript: vec![],
            millis: 1500,
        };
        Verdict {
            case: &CASE,
            finding,
            known: known.map(|k| Known {
                reason: k.to_owned(),
                always: true,
            }),
            tries: 1,
        }
    }

    fn subject() -> Subject {
        Subject {
            path: "/r".into(),
            name: "r".into(),
            version: "r version 1".into(),
        }
    }

    #[test]
    fn an_unexpected_pass_and_an_unexpected_failure_are_not_as_expected() {
        assert!(verdict(Outcome::Pass, None).as_expected());
        assert!(verdict(Outcome::Fail, Some("k")).as_expected());
        assert!(!verdict(Outcome::Pass, Some("k")).as_expected());
        assert!(!verdict(Outcome::Fail, None).as_expected());
    }

    #[test]
    fn tap_counts_and_directs() {
        let text = tap(&[
            verdict(Outcome::Pass, None),
            verdict(Outcome::Fail, Some("k")),
            verdict(Outcome::Skip, None),
        ]);
        assert!(text.starts_with("TAP version 13\n1..3\nok 1 - area.name\nnot ok 2 - area.name # TODO k\n"));
        assert!(text.contains("ok 3 - area.name # SKIP because"));
    }

    #[test]
    fn junit_escapes() {
        let text = junit(&subject(), &[verdict(Outcome::Fail, None)]);
        assert!(text.contains("failures=\"1\""));
        assert!(text.contains("a &lt;clause&gt;") && text.contains("because &quot;x&quot;"));
    }

    #[test]
    fn the_matrix_has_a_row_for_each_clause() {
        let runs = vec![
            (
                subject(),
                vec![verdict(Outcome::Pass, None), verdict(Outcome::Fail, None)],
            ),
            (subject(), vec![verdict(Outcome::Skip, None)]),
        ];
        let text = matrix(&runs);
        assert!(
            text.ends_with("| a <clause> | **1/2** | not judged |\n"),
            "{text}"
        );
    }

    #[test]
    fn json_says_what_was_expected() {
        let v = json(&subject(), &[verdict(Outcome::Fail, Some("k"))]);
        assert_eq!(v["cases"][0]["expected"], true);
        assert_eq!(v["cases"][0]["outcome"], "fail");
    }
}
