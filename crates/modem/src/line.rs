//! Bytes from a modem, cut into lines, prompts and counted bodies (ITU-T V.250 §5.7).

/// Bytes of a line. A longer one is reported as [`Item::Overlong`] and forgotten.
pub(crate) const LINE_MAX: usize = 1_024;

/// A piece of the modem's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A line that is not empty, without its ending.
    Line(Vec<u8>),
    /// The prompt `> ` that asks for a text (TS 27.005 §3.5.1).
    Prompt,
    /// As many bytes as were asked for.
    Body(Vec<u8>),
    /// A line beyond [`LINE_MAX`] ended.
    Overlong,
}

/// Cuts bytes into items. Lines end with LF; a CR before it, or the CR that ends an echoed
/// command, belongs to the ending.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    buffer: Vec<u8>,
    overlong: bool,
    prompt_expected: bool,
    body_left: usize,
}

impl LineReader {
    /// Takes one byte.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Item> {
        if self.body_left > 0 {
            self.buffer.push(byte);
            self.body_left -= 1;
            return (self.body_left == 0).then(|| Item::Body(core::mem::take(&mut self.buffer)));
        }
        if byte == b'\n' {
            return self.end_line();
        }
        if self.buffer.len() >= LINE_MAX {
            self.overlong = true;
            return None;
        }
        self.buffer.push(byte);
        if self.prompt_expected && after_last_cr(&self.buffer) == b"> " {
            self.buffer.clear();
            self.prompt_expected = false;
            return Some(Item::Prompt);
        }
        None
    }

    /// From now on `> ` at the start of a line is a prompt, once.
    pub(crate) fn expect_prompt(&mut self) {
        self.prompt_expected = true;
    }

    /// No prompt is expected any more.
    pub(crate) fn forget_prompt(&mut self) {
        self.prompt_expected = false;
    }

    /// The next `length` bytes are a body, whatever they look like.
    pub(crate) fn expect_body(&mut self, length: usize) {
        assert!(length <= LINE_MAX, "the caller bounds a body");
        self.body_left = length;
    }

    /// Forgets what was begun.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    fn end_line(&mut self) -> Option<Item> {
        let line = core::mem::take(&mut self.buffer);
        if core::mem::take(&mut self.overlong) {
            return Some(Item::Overlong);
        }
        let line = line.trim_ascii();
        (!line.is_empty()).then(|| Item::Line(line.to_vec()))
    }
}

fn after_last_cr(bytes: &[u8]) -> &[u8] {
    bytes.rsplit(|&b| b == b'\r').next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut LineReader, bytes: &[u8]) -> Vec<Item> {
        bytes.iter().filter_map(|&b| reader.push(b)).collect()
    }

    fn line(text: &str) -> Item {
        Item::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn answers_are_cut_with_and_without_echo() {
        let cases: &[(&[u8], Vec<Item>)] = &[
            (b"\r\nOK\r\n", vec![line("OK")]),
            (b"AT\r\r\nOK\r\n", vec![line("AT"), line("OK")]),
            (
                b"\r\n+CSQ: 20,0\r\n\r\nOK\r\n",
                vec![line("+CSQ: 20,0"), line("OK")],
            ),
            (b"\r\n\r\n\n", vec![]),
            (b"> ", vec![]),
            (b"half", vec![]),
        ];
        for (bytes, expected) in cases {
            let mut reader = LineReader::default();
            assert_eq!(&read(&mut reader, bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_prompt_is_one_only_when_it_is_expected_and_only_at_the_start() {
        let mut reader = LineReader::default();
        reader.expect_prompt();
        assert_eq!(
            read(&mut reader, b"AT+CMGS=\"1> 2\"\r\r\n> "),
            [line("AT+CMGS=\"1> 2\""), Item::Prompt]
        );
        assert_eq!(read(&mut reader, b"> \r\n"), [line(">")]);
        reader.expect_prompt();
        assert_eq!(read(&mut reader, b"AT\r> "), [Item::Prompt]);
    }

    #[test]
    fn a_counted_body_may_look_like_an_answer() {
        let mut reader = LineReader::default();
        reader.expect_body(6);
        assert_eq!(
            read(&mut reader, b"\r\nOK\r\n\r\nOK\r\n"),
            [Item::Body(b"\r\nOK\r\n".to_vec()), line("OK")]
        );
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut reader = LineReader::default();
        let mut bytes = vec![b'x'; LINE_MAX];
        bytes.push(b'\n');
        assert!(matches!(read(&mut reader, &bytes)[..], [Item::Line(_)]));
        bytes.insert(0, b'x');
        bytes.extend_from_slice(b"OK\r\n");
        assert_eq!(read(&mut reader, &bytes), [Item::Overlong, line("OK")]);
    }
}
