use std::io::{self, BufRead, BufReader, Read};

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes, without the line's end.
    Whole(&'a [u8]),
    /// It is longer than allowed; this long, in bytes.
    TooLong(u64),
}

/// Reads lines without ever holding more than one of the greatest length.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    line_bytes_max: usize,
    /// Number of the line that was read last, from 1.
    pub(super) number: u64,
    /// Bytes read so far.
    pub(super) bytes: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R, line_bytes_max: usize) -> Self {
        Self {
            input: BufReader::with_capacity(256 * 1024, input),
            line: Vec::new(),
            line_bytes_max,
            number: 0,
            bytes: 0,
        }
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let limit = self.line_bytes_max as u64 + 2;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read;
        let mut length = read;
        if read == limit && self.line.last() != Some(&b'\n') {
            let rest = self.skip_line()?;
            self.bytes += rest;
            length += rest;
        }
        let mut line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            // What Windows writes before UTF-8.
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        Ok(Some(if line.len() > self.line_bytes_max { Line::TooLong(length) } else { Line::Whole(line) }))
    }

    /// True when the next line may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.input.buffer().is_empty()
    }

    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(skipped);
            }
            let end = buffer.iter().position(|&byte| byte == b'\n').map(|place| place + 1);
            let used = end.unwrap_or(buffer.len());
            self.input.consume(used);
            skipped += used as u64;
            if end.is_some() {
                return Ok(skipped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], line_bytes_max: usize) -> Vec<Result<String, u64>> {
        let mut lines = Lines::new(text, line_bytes_max);
        let mut found = Vec::new();
        while let Some(line) = lines.next().expect("memory can be read") {
            found.push(match line {
                Line::Whole(line) => Ok(String::from_utf8_lossy(line).into_owned()),
                Line::TooLong(bytes) => Err(bytes),
            });
        }
        assert_eq!(lines.number as usize, found.len());
        assert_eq!(lines.bytes as usize, text.len());
        found
    }

    #[test]
    fn lines_end_as_files_end_them() {
        let ok = |texts: &[&str]| texts.iter().map(|text| Ok((*text).to_owned())).collect::<Vec<_>>();
        assert_eq!(all(b"", 9), ok(&[]));
        assert_eq!(all(b"a\nb", 9), ok(&["a", "b"]));
        assert_eq!(all(b"a\r\n\r\nb\n", 9), ok(&["a", "", "b"]));
        assert_eq!(all(b"\xef\xbb\xbfa\n", 9), ok(&["a"]));
    }

    #[test]
    fn long_lines_are_skipped_and_the_next_ones_read() {
        let long = "x".repeat(1_000_000);
        let text = format!("1234\n12345\n{long}\n1234\r\nab\n{long}");
        let expected =
            vec![Ok("1234".to_owned()), Err(6), Err(1_000_001), Ok("1234".into()), Ok("ab".into()), Err(1_000_000)];
        assert_eq!(all(text.as_bytes(), 4), expected);
    }
}
