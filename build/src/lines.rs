//! Instructions as lines: continuations joined, comments taken out, heredocs gathered.
//!
//! May not: know instructions, but for one thing: whether a heredoc can stand there (ADD, COPY, RUN, and ONBUILD of them).
//!
//! The text of a [`Line`] is what its instruction is parsed from. [`Line::span`] says where a part of it is in the file.

use std::ops::Range;

use crate::directives::{self, Head};
use crate::expand::{Lexer, Nothing, Quotes, Unset};
use crate::source::{Problem, Result, Source, Span};
use crate::words::{self, Json};

/// So many comments above an instruction are kept, the nearest ones: each of its names is looked for in them.
const MOST_COMMENTS: usize = 100;

/// A comment above an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub text: String,
    pub span: Span,
}

/// A document that stands below its instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// Variables in it are expanded: no part of the word was quoted.
    pub expand: bool,
    /// Tabs at the start of its lines go: `<<-`.
    pub chomp: bool,
    /// As it is written.
    pub content: String,
    pub span: Span,
}

impl Heredoc {
    /// What is in the file that it stands for.
    pub fn text(&self) -> String {
        chomped(&self.content, self.chomp)
    }
}

/// Without the tabs at the start of each line, if they are to go.
pub fn chomped(content: &str, chomp: bool) -> String {
    if !chomp {
        return content.to_owned();
    }
    let lines = content.split_inclusive('\n');
    lines.map(|line| line.trim_start_matches('\t')).collect()
}

/// An instruction, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// Where in the file pieces of the text begin: (in the text, in the file), both ascending.
    pieces: Vec<(u32, u32)>,
    /// All of it, heredocs too, without the end of the last line.
    pub whole: Span,
    /// Directly above it.
    pub comments: Vec<Comment>,
    pub heredocs: Vec<Heredoc>,
    /// The first empty line within it.
    pub empty: Option<Span>,
}

impl Line {
    /// Where a part of the text is.
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.offset(range.start);
        let end = range.end.checked_sub(1).filter(|last| *last >= range.start);
        Span {
            start,
            end: end.map_or(start, |last| self.offset(last) + 1),
        }
    }

    fn offset(&self, at: usize) -> u32 {
        let at = Span::new(at, at).start;
        let after = self.pieces.partition_point(|(start, _)| *start <= at);
        let (start, offset) = after
            .checked_sub(1)
            .and_then(|n| self.pieces.get(n))
            .copied()
            .unwrap_or((0, self.whole.start));
        (offset + (at - start.min(at))).min(self.whole.end)
    }
}

/// A file, cut.
#[derive(Clone, Debug)]
pub struct Lines {
    pub lines: Vec<Line>,
    pub escape: char,
}

/// Cuts a file into its instructions.
///
/// # Errors
/// A directive is wrong, a heredoc has no end, or nothing is there.
pub fn read(source: &Source) -> Result<Lines> {
    if source.text().is_empty() {
        return Err(Problem::new(Span::default(), "the Dockerfile cannot be empty"));
    }
    let head = directives::head(source)?;
    let mut reader = Reader::new(source.text(), head);
    let mut lines = Vec::new();
    while let Some(line) = reader.instruction()? {
        lines.push(line);
    }
    if lines.is_empty() {
        let end = source.text().trim_end().len();
        return Err(Problem::new(Span::new(end, end), "file with no instructions"));
    }
    Ok(Lines {
        lines,
        escape: head.escape,
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    number: usize,
    head: Head,
}

/// One line of the file.
#[derive(Clone, Copy)]
struct Raw<'a> {
    /// With its end.
    text: &'a str,
    start: usize,
}

impl<'a> Raw<'a> {
    fn content(self) -> &'a str {
        self.text.trim_end_matches(['\n', '\r'])
    }

    fn span(self) -> Span {
        Span::new(self.start, self.start + self.content().len())
    }

    fn comment(self) -> Option<Comment> {
        let text = self.content().trim_start().strip_prefix('#')?.trim();
        Some(Comment {
            text: text.to_owned(),
            span: self.span(),
        })
    }

    fn is_comment(self) -> bool {
        self.text.trim_start().starts_with('#')
    }
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, head: Head) -> Reader<'a> {
        Reader {
            text,
            at: text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len(),
            number: 0,
            head,
        }
    }

    fn raw(&mut self) -> Option<Raw<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |n| n + 1);
        let raw = Raw {
            text: rest.get(..length)?,
            start: self.at,
        };
        self.at += length;
        self.number += 1;
        Some(raw)
    }

    /// The next instruction, with the comments above it.
    fn instruction(&mut self) -> Result<Option<Line>> {
        let mut comments = Vec::new();
        while let Some(raw) = self.raw() {
            if let Some(comment) = raw.comment() {
                // An empty comment separates as an empty line does.
                if comment.text.is_empty() {
                    comments.clear();
                } else if self.number > self.head.lines {
                    comments.push(comment);
                    if comments.len() == 2 * MOST_COMMENTS {
                        comments.drain(..MOST_COMMENTS);
                    }
                }
                continue;
            }
            if raw.text.trim_start().is_empty() {
                comments.clear();
                continue;
            }
            let mut line = self.joined(raw);
            line.comments = comments;
            self.heredocs(&mut line)?;
            return Ok(Some(line));
        }
        Ok(None)
    }

    /// A line and those that continue it.
    fn joined(&mut self, first: Raw<'a>) -> Line {
        let content = first.content();
        let text = content.trim_start();
        let start = first.start + content.len() - text.len();
        let mut line = Line {
            text: String::new(),
            pieces: Vec::new(),
            whole: Span::new(start, first.start + content.len()),
            comments: Vec::new(),
            heredocs: Vec::new(),
            empty: None,
        };
        let mut goes_on = self.add(&mut line, text, start);
        while goes_on {
            let Some(raw) = self.raw() else { break };
            if raw.is_comment() {
                continue;
            }
            if raw.text.trim_start().is_empty() {
                line.empty.get_or_insert(raw.span());
                continue;
            }
            goes_on = self.add(&mut line, raw.content(), raw.start);
            line.whole.end = raw.span().end;
        }
        line
    }

    /// Adds a piece without its continuation character; whether it had one. It has none if the one at its end is escaped itself.
    fn add(&self, line: &mut Line, piece: &str, start: usize) -> bool {
        let place = Span::new(line.text.len(), start);
        let kept = piece
            .trim_end_matches([' ', '\t'])
            .strip_suffix(self.head.escape)
            .filter(|kept| !kept.ends_with(self.head.escape));
        line.pieces.push((place.start, Span::new(start, start).start));
        line.text.push_str(kept.unwrap_or(piece));
        kept.is_some()
    }

    /// The documents that the words of a line ask for, one behind the other below it.
    fn heredocs(&mut self, line: &mut Line) -> Result<()> {
        if !line.text.contains("<<") || !can_have_heredocs(&line.text, self.head.escape) {
            return Ok(());
        }
        let here = line.span(0..line.text.trim_end().len());
        let words = Lexer {
            quotes: Quotes::Keep,
            keep_escapes: true,
            unset: Unset::Keep,
            ..Lexer::new('\\')
        };
        // What a shell understands and a Dockerfile does not (`${x^^}`) has no heredocs, rather than being an error.
        let words = words
            .expand(&line.text, &Nothing)
            .map(|e| e.words)
            .unwrap_or_default();
        for word in words {
            let Some(mut heredoc) = heredoc(&word).map_err(|e| Problem::new(here, e.to_string()))? else {
                continue;
            };
            self.body(&mut heredoc).ok_or_else(|| {
                Problem::new(here, format!("unterminated heredoc: no line is {}", heredoc.name))
            })?;
            line.whole.end = heredoc.span.end;
            line.heredocs.push(heredoc);
        }
        Ok(())
    }

    /// Up to the line that is the word. None: there is no such line.
    fn body(&mut self, heredoc: &mut Heredoc) -> Option<()> {
        let start = self.at;
        loop {
            let raw = self.raw()?;
            let mut end = raw.content();
            if heredoc.chomp {
                end = end.trim_start_matches('\t');
            }
            if end == heredoc.name {
                heredoc.content = self.text.get(start..raw.start)?.to_owned();
                heredoc.span = Span::new(start, raw.start + raw.content().len());
                return Some(());
            }
        }
    }
}

fn can_have_heredocs(text: &str, escape: char) -> bool {
    let (keyword, rest) = words::first(text, 0..text.len());
    let (_, rest) = words::flags(text, rest, escape);
    match text
        .get(keyword)
        .unwrap_or_default()
        .to_ascii_uppercase()
        .as_str()
    {
        "ADD" | "COPY" | "RUN" => {
            matches!(words::json(text.get(rest).unwrap_or_default()), Json::No)
        }
        "ONBUILD" => {
            let (inner, rest_of_inner) = words::first(text, rest);
            let inner = text.get(inner).unwrap_or_default().to_ascii_uppercase();
            let (_, arguments) = words::flags(text, rest_of_inner, escape);
            matches!(inner.as_str(), "ADD" | "COPY" | "RUN")
                && matches!(words::json(text.get(arguments).unwrap_or_default()), Json::No)
        }
        _ => false,
    }
}

/// `<<EOF`, `<<-"EOF"`, `3<<EOF`: a heredoc whose body is not read yet.
///
/// # Errors
/// A quote in it has no end.
pub fn heredoc(word: &str) -> Result<Option<Heredoc>, crate::expand::Error> {
    let after_number = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = after_number.strip_prefix("<<") else {
        return Ok(None);
    };
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let read = |quotes| Lexer {
        quotes,
        unset: Unset::Keep,
        ..Lexer::new('\\')
    };
    // More words than one are no name.
    let [name] =
        <[String; 1]>::try_from(read(Quotes::Remove).expand(rest, &Nothing)?.words).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let raw = read(Quotes::Keep).expand(rest, &Nothing)?.text;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        expand: quotes(&name) == quotes(&raw),
        name,
        chomp,
        content: String::new(),
        span: Span::default(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_text(text: &str) -> Result<Lines> {
        read(&Source::new("Dockerfile", text).unwrap())
    }

    fn texts(text: &str) -> Vec<String> {
        read_text(text)
            .unwrap()
            .lines
            .into_iter()
            .map(|l| l.text)
            .collect()
    }

    #[test]
    fn continuations() {
        for (text, lines) in [
            ("FROM a\nRUN b", vec!["FROM a", "RUN b"]),
            ("\u{feff}FROM a\r\n\r\n  RUN b\r\n", vec!["FROM a", "RUN b"]),
            ("RUN a \\\n  b", vec!["RUN a   b"]),
            ("RUN a \\ \t\r\n  b", vec!["RUN a   b"]),
            ("RUN a \\\n# no\n  # no\n\n  \nb\nRUN c", vec!["RUN a b", "RUN c"]),
            ("RUN a \\\\\nRUN b", vec!["RUN a \\\\", "RUN b"]),
            ("RUN a\\\nb", vec!["RUN ab"]),
            ("\\\nRUN a", vec!["RUN a"]),
            ("RUN a \\\n\\\n b", vec!["RUN a  b"]),
            ("RUN a \\", vec!["RUN a "]),
            ("# escape=`\nRUN a `\nb\\\nRUN c", vec!["RUN a b\\", "RUN c"]),
            ("RUN echo '#' \\\n  # x\n y", vec!["RUN echo '#'  y"]),
        ] {
            assert_eq!(texts(text), lines, "{text:?}");
        }
        assert_eq!(
            read_text("").unwrap_err().message,
            "the Dockerfile cannot be empty"
        );
        assert_eq!(
            read_text("# a\n\n").unwrap_err().message,
            "file with no instructions"
        );
    }

    #[test]
    fn parts_are_found_in_the_file() {
        let text = "FROM a\n  RUN one \\\n# no\n   two \\\n\n three\n";
        let source = Source::new("f", text).unwrap();
        let lines = read(&source).unwrap().lines;
        let run = &lines[1];
        for word in ["RUN", "one", "two", "three"] {
            let at = run.text.find(word).unwrap();
            assert_eq!(source.at(run.span(at..at + word.len())), word);
        }
        assert_eq!(source.lines_of(run.whole), (2, 6));
        assert_eq!(source.line_of(run.empty.unwrap()), 5);
    }

    #[test]
    fn comments_stand_directly_above() {
        let comments = |text: &str| {
            let lines = read_text(text).unwrap().lines;
            let all: Vec<Vec<String>> = lines
                .into_iter()
                .map(|l| l.comments.into_iter().map(|c| c.text).collect())
                .collect();
            all
        };
        assert_eq!(
            comments("# syntax=x\n# a\n  #b \nFROM a\n# c\nRUN x"),
            [vec!["a", "b"], vec!["c"]]
        );
        assert_eq!(comments("# a\n\nFROM a\n# b\n#\n# c\nRUN x"), [vec![], vec!["c"]]);
    }

    #[test]
    fn heredocs_follow_their_line() {
        let lines = read_text("COPY <<A <<-\"B\" /x/\none $v\nA\n\t two\n\tB\nRUN c")
            .unwrap()
            .lines;
        let [a, b] = &lines[0].heredocs[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (a.name.as_str(), a.expand, a.chomp, a.content.as_str()),
            ("A", true, false, "one $v\n")
        );
        assert_eq!(
            (b.name.as_str(), b.expand, b.chomp, b.content.as_str()),
            ("B", false, true, "\t two\n")
        );
        assert_eq!(b.text(), " two\n");
        assert_eq!(lines[1].text, "RUN c");
        for (text, names) in [
            ("RUN <<EOF\nx\nEOF\n", vec!["EOF"]),
            ("RUN cat << EOF > f\nx\r\nEOF\r\n", vec!["EOF"]),
            ("RUN 3<<E cat <<'F' \\\n more\nE\nF", vec!["E", "F"]),
            ("onbuild --x run --y <<E\nE", vec!["E"]),
            ("RUN <<E\\OF\nEOF", vec!["EOF"]),
            // BuildKit takes it for one as well.
            (
                "RUN echo $((1 << 2))",
                vec!["unterminated heredoc: no line is 2))"],
            ),
            ("RUN cat <<< word", vec![]),
            ("RUN [\"a\", \"<<E\"]", vec![]),
            ("RUN echo \"<<E\"", vec![]),
            ("CMD cat <<E", vec![]),
            ("RUN echo ${x^^} <<E", vec![]),
            ("RUN echo \\<<E", vec![]),
        ] {
            let found = match read_text(text) {
                Ok(lines) => lines.lines[0].heredocs.iter().map(|h| h.name.clone()).collect(),
                Err(e) => vec![e.message],
            };
            assert_eq!(found, names, "{text}");
        }
        let open = read_text("FROM a\nRUN <<EOF\nx\n EOF\n").unwrap_err();
        assert_eq!(open.message, "unterminated heredoc: no line is EOF");
        assert_eq!(open.span, Span::new(7, 16));
    }

    #[test]
    fn a_hundred_thousand_continuations_are_one_line() {
        let text = format!("RUN a{}\n", " \\\n b".repeat(100_000));
        let lines = read_text(&text).unwrap().lines;
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].text.len(), 5 + 3 * 100_000);
    }
}
