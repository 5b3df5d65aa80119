//! Comma-separated values (RFC 4180), strictly: a stray quote is an error, not a guess.

/// A record and the line where it begins, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// Where a text stops being CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CsvFault {
    pub(super) line: usize,
    pub(super) problem: &'static str,
}

/// Semicolons separate fields where a comma is the decimal sign: spreadsheets there write them.
pub(super) fn separator(text: &str) -> char {
    let header = text.lines().next().unwrap_or_default();
    if header.contains(';') && !header.contains(',') {
        ';'
    } else {
        ','
    }
}

/// Every record that is not empty.
pub(super) fn parse(text: &str) -> Result<Vec<Record>, CsvFault> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let separator = separator(text);
    let mut records = Vec::new();
    let mut rest = text.chars().peekable();
    let mut line = 1;
    while rest.peek().is_some() {
        let mut record = Record {
            line,
            fields: Vec::new(),
        };
        loop {
            let mut field = String::new();
            let begins = line;
            let fault = |problem| CsvFault {
                line: begins,
                problem,
            };
            if rest.next_if_eq(&'"').is_some() {
                loop {
                    match rest.next() {
                        Some('"') if rest.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(inner) => {
                            line += usize::from(inner == '\n');
                            field.push(inner);
                        }
                        None => return Err(fault("a quoted field never ends; close its quote")),
                    }
                }
                let ends = |c: &char| *c == separator || *c == '\n' || *c == '\r';
                if rest.peek().is_some_and(|next| !ends(next)) {
                    return Err(fault("text follows a closing quote; double quotes inside"));
                }
            } else {
                while let Some(inner) = rest.next_if(|c| *c != separator && *c != '\n') {
                    if inner == '"' {
                        return Err(fault("a quote inside a field; quote the whole field"));
                    }
                    field.push(inner);
                }
                if field.ends_with('\r') {
                    field.pop();
                }
            }
            record.fields.push(field);
            if rest.next_if_eq(&separator).is_some() {
                continue;
            }
            rest.next_if_eq(&'\r');
            rest.next_if_eq(&'\n');
            line += 1;
            break;
        }
        if record.fields.iter().any(|field| !field.is_empty()) {
            records.push(record);
        }
    }
    Ok(records)
}

/// Appends a record, quoted where needed.
pub(super) fn write<'a>(out: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if field.contains([',', ';', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_their_lines() {
        let fields = |line, fields: &[&str]| Record {
            line,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        let cases = [
            ("", vec![]),
            ("a,b", vec![fields(1, &["a", "b"])]),
            (
                "\u{FEFF}a;b\r\n;\r\n1;2,5\r\n",
                vec![fields(1, &["a", "b"]), fields(3, &["1", "2,5"])],
            ),
            (
                "a,b\n\n\"x\n\"\"y\"\"\",\n,z",
                vec![
                    fields(1, &["a", "b"]),
                    fields(3, &["x\n\"y\"", ""]),
                    fields(5, &["", "z"]),
                ],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
        for (text, line) in [("a\n\"b", 2), ("\"a\"b", 1), ("a\nb\"c", 2)] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let fields = [
            "plain",
            "",
            "a,b",
            "a;b",
            "say \"hi\"",
            "two\r\nlines",
            " x ",
        ];
        let mut text = String::new();
        write(&mut text, fields);
        assert_eq!(parse(&text).unwrap()[0].fields, fields);
    }
}
