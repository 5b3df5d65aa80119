//! The language's surface: logical lines become parameters, values become numbers and arrays.

/// Longest line that is read, in bytes; a load shape of a year's hours stays below.
pub(crate) const LINE_MAX: usize = 8 << 20;

/// `name=value`, or a value alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: Option<String>,
    pub(crate) value: String,
}

/// Takes a comment off the end of a line: `!` anywhere outside quotes, `//` at the beginning of
/// a word.
pub(crate) fn without_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match quote {
            Some(end) if *byte == end => quote = None,
            Some(_) => {}
            None => match byte {
                b'"' => quote = Some(b'"'),
                b'\'' => quote = Some(b'\''),
                b'!' => return &line[..at],
                b'/' if bytes.get(at + 1) == Some(&b'/')
                    && (at == 0 || bytes[at - 1].is_ascii_whitespace()) =>
                {
                    return &line[..at];
                }
                _ => {}
            },
        }
    }
    line
}

/// Splits a line into its parameters.
pub(crate) fn parameters(line: &str) -> Vec<Parameter> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((word, equals, after)) = token(rest) {
        rest = after;
        if equals {
            let (value, after) = match token(rest) {
                Some((value, _, after)) => (value, after),
                None => (String::new(), ""),
            };
            rest = after;
            found.push(Parameter {
                name: Some(word.to_ascii_lowercase()),
                value,
            });
        } else {
            found.push(Parameter {
                name: None,
                value: word,
            });
        }
    }
    found
}

/// The next word, whether `=` follows it, and what is left.
fn token(text: &str) -> Option<(String, bool, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    let first = text.chars().next()?;
    let (word, after) = if let Some(end) = closing(first) {
        let inner = &text[first.len_utf8()..];
        let stop = inner.find(end).unwrap_or(inner.len());
        (&inner[..stop], inner.get(stop + 1..).unwrap_or(""))
    } else {
        let stop = text
            .find(|c: char| c.is_whitespace() || c == ',' || c == '=')
            .unwrap_or(text.len());
        (&text[..stop], &text[stop..])
    };
    let next = after.trim_start();
    match next.strip_prefix('=') {
        Some(after) => Some((word.to_owned(), true, after)),
        None => Some((word.to_owned(), false, after)),
    }
}

fn closing(open: char) -> Option<char> {
    match open {
        '"' => Some('"'),
        '\'' => Some('\''),
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

/// The elements of an array.
pub(crate) fn words(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '|');
        let Some(first) = rest.chars().next() else {
            return found;
        };
        if let Some(end) = closing(first) {
            let inner = &rest[first.len_utf8()..];
            let stop = inner.find(end).unwrap_or(inner.len());
            found.push(inner[..stop].to_owned());
            rest = inner.get(stop + 1..).unwrap_or("");
        } else {
            let stop = rest
                .find(|c: char| c.is_whitespace() || c == ',' || c == '|')
                .unwrap_or(rest.len());
            found.push(rest[..stop].to_owned());
            rest = &rest[stop..];
        }
    }
}

/// A number, or a calculation in reverse Polish notation.
pub(crate) fn number(value: &str) -> Option<f64> {
    let value = value.trim();
    if let Ok(number) = value.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let mut stack: Vec<f64> = Vec::new();
    for word in words(value) {
        if let Ok(number) = word.parse::<f64>() {
            stack.push(number);
            continue;
        }
        let word = word.to_ascii_lowercase();
        let unary: Option<fn(f64) -> f64> = match word.as_str() {
            "sqr" => Some(|a| a * a),
            "sqrt" => Some(f64::sqrt),
            "inv" => Some(|a| 1.0 / a),
            "ln" => Some(libm::log),
            "log10" => Some(libm::log10),
            "exp" => Some(libm::exp),
            "sin" => Some(|a| libm::sin(a.to_radians())),
            "cos" => Some(|a| libm::cos(a.to_radians())),
            "tan" => Some(|a| libm::tan(a.to_radians())),
            "asin" => Some(|a| libm::asin(a).to_degrees()),
            "acos" => Some(|a| libm::acos(a).to_degrees()),
            "atan" => Some(|a| libm::atan(a).to_degrees()),
            _ => None,
        };
        if let Some(apply) = unary {
            let a = stack.pop()?;
            stack.push(apply(a));
            continue;
        }
        if word == "pi" {
            stack.push(core::f64::consts::PI);
            continue;
        }
        let b = stack.pop()?;
        let a = stack.pop()?;
        stack.push(match word.as_str() {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            "^" => libm::pow(a, b),
            "atan2" => libm::atan2(a, b).to_degrees(),
            _ => return None,
        });
    }
    (stack.len() == 1 && stack[0].is_finite()).then(|| stack[0])
}

/// All numbers of an array.
pub(crate) fn numbers(value: &str) -> Option<Vec<f64>> {
    words(value).iter().map(|word| number(word)).collect()
}

/// A symmetric matrix: rows divided by `|`, in full or as lower triangle.
pub(crate) fn matrix(value: &str, order: usize) -> Option<Vec<f64>> {
    let mut full = vec![0.0; order * order];
    let rows: Vec<&str> = value
        .split('|')
        .filter(|row| !row.trim().is_empty())
        .collect();
    if rows.len() == 1 && order > 1 {
        let flat = numbers(rows[0])?;
        if flat.len() != order * order {
            return None;
        }
        return Some(flat);
    }
    if rows.len() != order {
        return None;
    }
    for (row, text) in rows.iter().enumerate() {
        let values = numbers(text)?;
        if values.len() < row + 1 || values.len() > order {
            return None;
        }
        for (column, value) in values.iter().enumerate() {
            full[row * order + column] = *value;
            if column < row {
                full[column * order + row] = *value;
            }
        }
    }
    Some(full)
}

/// Yes or no.
pub(crate) fn flag(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().chars().next()? {
        'y' | 't' => Some(true),
        'n' | 'f' => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_parameters() {
        type Expected<'a> = &'a [(Option<&'a str>, &'a str)];
        let cases: [(&str, Expected<'_>); 6] = [
            (
                "New Line.1 bus1=a.1.2 Length = 2",
                &[
                    (None, "New"),
                    (None, "Line.1"),
                    (Some("bus1"), "a.1.2"),
                    (Some("length"), "2"),
                ],
            ),
            (
                "~ buses=[a, b.1] kvs=\"1 2\"",
                &[(None, "~"), (Some("buses"), "a, b.1"), (Some("kvs"), "1 2")],
            ),
            ("x=(8 1000 /) ! no", &[(Some("x"), "8 1000 /")]),
            (
                "Compile (my file.dss)  // no",
                &[(None, "Compile"), (None, "my file.dss")],
            ),
            ("// nothing", &[]),
            (
                "code=3PH-2/0_A//B,normamps=1 2",
                &[
                    (Some("code"), "3PH-2/0_A//B"),
                    (Some("normamps"), "1"),
                    (None, "2"),
                ],
            ),
        ];
        for (line, expected) in cases {
            let got = parameters(without_comment(line));
            let got: Vec<_> = got
                .iter()
                .map(|p| (p.name.as_deref(), p.value.as_str()))
                .collect();
            assert_eq!(got, expected, "{line}");
        }
    }

    #[test]
    fn values_become_numbers() {
        let cases = [
            ("8", Some(8.0)),
            ("8 1000 /", Some(0.008)),
            (".5 1000 /", Some(0.0005)),
            (
                "1.051 0.88 0.001 3 * - - 115 12.47 / sqr *",
                Some((1.051 - (0.88 - 0.003)) * (115.0_f64 / 12.47).powi(2)),
            ),
            ("", None),
            ("1 2", None),
            ("+", None),
            ("1 0 /", None),
            ("nan", None),
        ];
        for (text, expected) in cases {
            match (number(text), expected) {
                (Some(got), Some(expected)) => assert!((got - expected).abs() < 1e-9, "{text}"),
                (got, expected) => assert_eq!(got, expected, "{text}"),
            }
        }
        assert_eq!(matrix("1 | 2 3", 2), Some(vec![1.0, 2.0, 2.0, 3.0]));
        assert_eq!(matrix("[1 2 | 2 3", 2), None);
        assert_eq!(matrix("1 | 2", 2), None);
        assert_eq!(flag("Yes"), Some(true));
        assert_eq!(flag("f"), Some(false));
    }
}
