//! The submission: a JSON document of 300 bytes with a number of its own, which every peer gets.

/// What is submitted, in bytes.
pub(crate) const DOCUMENT_BYTES: usize = 300;
const DIGITS: usize = 10;

/// One client's document; only its number changes.
#[derive(Debug)]
pub(crate) struct Document {
    bytes: Vec<u8>,
    /// Where the digits are.
    at: usize,
}

impl Document {
    pub(crate) fn of_client(nth: usize) -> Self {
        let head = format!(r#"{{"roll":"{nth:04}-"#);
        let at = head.len();
        let tail = r#"","university":"BCE","cgpa":"8.04","gender":"F","age":"19","email":"someone@example.com","mobile":"7004465984","name":""#;
        let mut bytes = format!("{head}{:0DIGITS$}{tail}Saurabh ", 0).into_bytes();
        bytes.resize(DOCUMENT_BYTES - 2, b'j');
        bytes.extend_from_slice(b"\"}");
        Self { bytes, at }
    }

    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        let mut rest = number;
        let digits = self.bytes.get_mut(self.at..self.at + DIGITS);
        for digit in digits.unwrap_or_default().iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_is_json_of_300_bytes_with_its_number() {
        for nth in [0, 999] {
            let mut document = Document::of_client(nth);
            for number in [0, 42, 1_234_567_890] {
                let bytes = document.numbered(number);
                assert_eq!(DOCUMENT_BYTES, bytes.len());
                let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                assert_eq!(value["roll"], format!("{nth:04}-{number:010}"));
            }
        }
    }
}
