//! One line of values with commas between them, as Go's encoding/csv reads it: a value in double quotes may have commas.

/// The values. What is wrong is a sentence with the column.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(inner) => in_quotes(line, inner)?,
            None => bare(line, rest)?,
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn bare<'a>(line: &str, rest: &'a str) -> Result<(String, &'a str), String> {
    let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    match field.find('"') {
        Some(n) => Err(wrong(line, rest.get(n..), "bare \" in non-quoted field")),
        None => Ok((field.to_owned(), after)),
    }
}

/// Two quotes are one.
fn in_quotes<'a>(line: &str, inner: &'a str) -> Result<(String, &'a str), String> {
    let mut field = String::new();
    let mut rest = inner;
    while let Some((part, after)) = rest.split_once('"') {
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None if after.is_empty() || after.starts_with(',') => return Ok((field, after)),
            None => {
                return Err(wrong(
                    line,
                    Some(after),
                    "extraneous or missing \" in quoted-field",
                ));
            }
        }
    }
    Err(wrong(line, Some(""), "extraneous or missing \" in quoted-field"))
}

fn wrong(line: &str, rest: Option<&str>, what: &str) -> String {
    let column = line.len() - rest.unwrap_or_default().len() + 1;
    format!("parse error on line 1, column {column}: {what}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commas_and_quotes() {
        for (line, values) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a,,b=c", vec!["a", "", "b=c"]),
            ("a,", vec!["a", ""]),
            ("\"a,b\",\"c\"\"d\"", vec!["a,b", "c\"d"]),
            ("\"\"", vec![""]),
        ] {
            assert_eq!(fields(line).unwrap(), values, "{line}");
        }
        assert_eq!(
            fields("a\"b").unwrap_err(),
            "parse error on line 1, column 2: bare \" in non-quoted field"
        );
        assert!(
            fields("\"a")
                .unwrap_err()
                .ends_with("extraneous or missing \" in quoted-field")
        );
        assert!(fields("\"a\"b").is_err());
    }
}
