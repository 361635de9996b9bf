/// Longer words are cut: none that is looked for is.
const WORD_BYTES_MAX: usize = 32;

/// Follows what a client sends, however it is cut into parts, and finds the command `CLIENT TRACKING`.
#[derive(Default)]
pub(super) struct Requests {
    /// The line that is being read, from its beginning.
    line: Vec<u8>,
    /// Bytes that are left of a word, with the end of its line.
    word_left: usize,
    /// Words that are left of a command.
    words_left: usize,
    /// The first words of the command.
    words: Vec<Vec<u8>>,
}

impl Requests {
    /// Takes the next bytes. True where they complete the command's second word.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.word_left > 0 {
                let part = self.word_left.min(bytes.len());
                self.keep(&bytes[..part]);
                bytes = &bytes[part..];
                self.word_left -= part;
                if self.word_left == 0 {
                    self.words_left = self.words_left.saturating_sub(1);
                    found |= self.words.len() == 2 && self.is_tracking();
                }
                continue;
            }
            bytes = rest;
            if byte != b'\n' {
                if self.line.len() < 4 * WORD_BYTES_MAX {
                    self.line.push(byte);
                }
                continue;
            }
            found |= self.line_ended();
        }
        found
    }

    fn line_ended(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        let number = || std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        match line.first() {
            Some(b'*') => {
                self.words_left = number();
                self.words.clear();
            }
            Some(b'$') if self.words_left > 0 => {
                self.word_left = number() + 2;
                self.words.push(Vec::new());
            }
            // As a person types it.
            Some(_) => {
                self.words = line.split(u8::is_ascii_whitespace).take(2).map(<[u8]>::to_vec).collect();
                return self.is_tracking();
            }
            None => {}
        }
        false
    }

    fn keep(&mut self, part: &[u8]) {
        if let Some(word) = self.words.last_mut().filter(|word| word.len() < WORD_BYTES_MAX) {
            word.extend_from_slice(&part[..part.len().min(WORD_BYTES_MAX)]);
        }
    }

    fn is_tracking(&self) -> bool {
        let is = |at: usize, name: &[u8]| {
            self.words.get(at).is_some_and(|word: &Vec<u8>| word.trim_ascii_end().eq_ignore_ascii_case(name))
        };
        is(0, b"CLIENT") && is(1, b"TRACKING")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &[u8] = b"*4\r\n$6\r\nclient\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$5\r\nBCAST\r\n";

    #[test]
    fn the_command_is_found_however_it_is_cut() {
        for at in 0..COMMAND.len() {
            let mut requests = Requests::default();
            let parts = [requests.take(&COMMAND[..at]), requests.take(&COMMAND[at..])];
            assert_eq!(parts.iter().filter(|found| **found).count(), 1, "cut at {at}");
        }
        let mut requests = Requests::default();
        assert!(!requests.take(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"));
        assert!(requests.take(&[b"*1\r\n$4\r\nPING\r\n", COMMAND].concat()));
        assert!(Requests::default().take(b"client tracking on\r\n"));
    }

    #[test]
    fn a_value_that_looks_like_it_is_none() {
        let mut value = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", COMMAND.len()).into_bytes();
        value.extend_from_slice(COMMAND);
        value.extend_from_slice(b"\r\n*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n*2\r\n$3\r\nGET\r\n$8\r\nTRACKING\r\n");
        for at in 0..value.len() {
            let mut requests = Requests::default();
            assert!(!requests.take(&value[..at]) && !requests.take(&value[at..]), "cut at {at}");
        }
    }
}
