//! Records of CSV. A quote opens only at a cell's beginning, and a carriage return outside quotes only ends a line.

use super::{LINE_BYTES_MAX, is_blank};

/// Records of CSV with the line that each begins on: a cell in quotes may go over lines. Blank ones are left out.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    line: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, line: 1 }
    }
}

impl Iterator for Records<'_> {
    type Item = (usize, Result<Vec<String>, String>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.bytes.is_empty() {
            let (line, whole) = (self.line, self.bytes);
            let record = self.record();
            let taken = &whole[..whole.len() - self.bytes.len()];
            self.line += taken.iter().filter(|&&byte| byte == b'\n').count();
            if taken.strip_suffix(b"\n").unwrap_or(taken).len() > LINE_BYTES_MAX {
                return Some((line, Err(format!("is longer than {LINE_BYTES_MAX} bytes"))));
            }
            if !is_blank(taken) {
                return Some((line, record));
            }
        }
        None
    }
}

impl Records<'_> {
    fn record(&mut self) -> Result<Vec<String>, String> {
        let mut cells = Vec::new();
        loop {
            let cell = if self.bytes.first() == Some(&b'"') { self.quoted()? } else { self.plain()? };
            cells.push(String::from_utf8(cell).map_err(|_| {
                self.line_end();
                "is not UTF-8"
            })?);
            match self.bytes.split_first() {
                Some((b',', rest)) => self.bytes = rest,
                _ => {
                    self.line_end();
                    return Ok(cells);
                }
            }
        }
    }

    /// Up to a comma or the line's end.
    fn plain(&mut self) -> Result<Vec<u8>, String> {
        let end = self.bytes.iter().position(|&byte| byte == b',' || byte == b'\n').unwrap_or(self.bytes.len());
        let (cell, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        let last = rest.first() != Some(&b',');
        let cell = if last { cell.strip_suffix(b"\r").unwrap_or(cell) } else { cell };
        if cell.contains(&b'\r') {
            self.line_end();
            return Err("is not CSV: there is a carriage return within a line".into());
        }
        Ok(cell.to_vec())
    }

    /// Between quotes, of which two stand for one.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut cell = Vec::new();
        self.bytes = &self.bytes[1..];
        loop {
            let Some(end) = self.bytes.iter().position(|&byte| byte == b'"') else {
                self.bytes = &[];
                return Err("is not CSV: a quote is not closed".into());
            };
            cell.extend_from_slice(&self.bytes[..end]);
            self.bytes = &self.bytes[end + 1..];
            match self.bytes {
                [b'"', rest @ ..] => {
                    cell.push(b'"');
                    self.bytes = rest;
                }
                [] | [b'\r'] | [b',' | b'\n', ..] | [b'\r', b'\n', ..] => return Ok(cell),
                _ => {
                    self.line_end();
                    return Err("is not CSV: there is text after a closing quote".into());
                }
            }
        }
    }

    fn line_end(&mut self) {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').map_or(self.bytes.len(), |end| end + 1);
        self.bytes = &self.bytes[end..];
    }
}
