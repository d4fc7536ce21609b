//! Request bodies in JSON, and what is wrong with one in the words of Go's decoder, which clients know.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fields::Fields;

/// Reads one JSON document and nothing behind it. Errors read as those of `encoding/json`.
pub(crate) fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    read(&value(bytes)?)
}

/// Reads a part of a document, or all of it, with its fields in any case.
pub(crate) fn read<'a, T: Deserialize<'a>>(document: &'a Value) -> Result<T, String> {
    T::deserialize(Fields(document)).map_err(|why| format!("invalid JSON: {why}"))
}

/// The document as it is.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, String> {
    if bytes.iter().all(|byte| is_space(*byte)) {
        return Err("invalid JSON: got EOF while reading request body".to_owned());
    }
    // First as what it says it is: Go's decoder reads the whole value before it looks at types.
    let end = scan(bytes).map_err(|why| format!("invalid JSON: {why}"))?;
    // What is no text is replaced, as Go does.
    let text = String::from_utf8_lossy(&bytes[..end]);
    let value = serde_json::from_str(&text).map_err(|why| format!("invalid JSON: {why}"))?;
    match bytes[end..].iter().find(|byte| !is_space(**byte)) {
        // As Go's decoder has it, what closes something is not the beginning of more.
        None | Some(b']' | b'}') => Ok(value),
        Some(_) => Err("unexpected content after JSON".to_owned()),
    }
}

/// A document that is a parameter: errors are those of `json.Unmarshal`.
pub(super) fn word(text: &str) -> Result<Value, String> {
    let bytes = text.as_bytes();
    let end = scan(bytes).map_err(|why| match why.as_str() {
        "unexpected EOF" => "unexpected end of JSON input".to_owned(),
        _ => why,
    })?;
    match bytes[end..].iter().find(|byte| !is_space(**byte)) {
        None => serde_json::from_str(text).map_err(|why| why.to_string()),
        Some(more) => Err(unexpected(*more, "after top-level value")),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Where the first value ends; or the first character that cannot stand where it does.
fn scan(bytes: &[u8]) -> Result<usize, String> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.value()?;
    Ok(scanner.at)
}

/// Deeper nesting than Go's decoder takes.
const MAX_DEPTH: usize = 10_000;

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What an open array or object waits for.
enum Open {
    Array,
    Object,
}

impl Scanner<'_> {
    /// One value with all that is in it. Without recursion: the depth is the client's choice.
    fn value(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.space();
            let closed = match self.peek()? {
                b'{' => self.open(&mut open, Open::Object)?,
                b'[' => self.open(&mut open, Open::Array)?,
                b'"' => self.string().map(|()| true)?,
                b'-' | b'0'..=b'9' => self.number().map(|()| true)?,
                b't' => self.word("true").map(|()| true)?,
                b'f' => self.word("false").map(|()| true)?,
                b'n' => self.word("null").map(|()| true)?,
                other => return Err(unexpected(other, "looking for beginning of value")),
            };
            if closed && self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Opens an array or object; whether it is closed again at once.
    fn open(&mut self, open: &mut Vec<Open>, kind: Open) -> Result<bool, String> {
        if open.len() >= MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        self.space();
        let (end, is_object) = match kind {
            Open::Array => (b']', false),
            Open::Object => (b'}', true),
        };
        if self.peek()? == end {
            self.at += 1;
            return Ok(true);
        }
        open.push(kind);
        if is_object {
            self.key()?;
        }
        Ok(false)
    }

    /// After a value: on to the next one, or out of what it was the last in. Whether all is closed.
    fn close(&mut self, open: &mut Vec<Open>) -> Result<bool, String> {
        while let Some(inner) = open.last() {
            self.space();
            match (inner, self.peek()?) {
                (Open::Array, b',') => {
                    self.at += 1;
                    return Ok(false);
                }
                (Open::Object, b',') => {
                    self.at += 1;
                    self.space();
                    self.key()?;
                    return Ok(false);
                }
                (Open::Array, b']') | (Open::Object, b'}') => {
                    self.at += 1;
                    open.pop();
                }
                (Open::Array, other) => return Err(unexpected(other, "after array element")),
                (Open::Object, other) => return Err(unexpected(other, "after object key:value pair")),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<(), String> {
        match self.peek()? {
            b'"' => self.string()?,
            other => return Err(unexpected(other, "looking for beginning of object key string")),
        }
        self.space();
        match self.peek()? {
            b':' => self.at += 1,
            other => return Err(unexpected(other, "after object key")),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u' => self.at += 1,
                        other => return Err(unexpected(other, "in string escape code")),
                    }
                }
                control @ 0..0x20 => return Err(unexpected(control, "in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek()? == b'-' {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(unexpected(self.peek()?, "in numeric literal"));
            }
        }
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            let found = self.peek()?;
            if found != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(unexpected(found, &place));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, String> {
        self.bytes.get(self.at).copied().ok_or_else(|| "unexpected EOF".to_owned())
    }
}

fn unexpected(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        0x20..0x7f => format!("'{}'", char::from(byte)),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        _ => format!("'\\x{byte:02x}'"),
    };
    format!("invalid character {shown} {place}")
}

#[cfg(test)]
mod tests {
    use super::document;
    use serde_json::Value;

    #[test]
    fn errors_are_gos() {
        let said = |text: &str| document::<Value>(text.as_bytes()).unwrap_err();
        for (text, error) in [
            ("", "invalid JSON: got EOF while reading request body"),
            (" \n", "invalid JSON: got EOF while reading request body"),
            (
                "{invalid json",
                "invalid JSON: invalid character 'i' looking for beginning of object key string",
            ),
            ("this", "invalid JSON: invalid character 'h' in literal true (expecting 'r')"),
            ("x", "invalid JSON: invalid character 'x' looking for beginning of value"),
            (r#"{"a" 1}"#, "invalid JSON: invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid JSON: invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid JSON: invalid character '2' after array element"),
            ("[1,]", "invalid JSON: invalid character ']' looking for beginning of value"),
            (r#"{"a":"#, "invalid JSON: unexpected EOF"),
            ("\"a\nb\"", "invalid JSON: invalid character '\\n' in string literal"),
            ("{} trailing", "unexpected content after JSON"),
            ("{}{}", "unexpected content after JSON"),
        ] {
            assert_eq!(said(text), error, "{text}");
        }
    }

    #[test]
    fn documents_are_read() {
        for text in ["{}", " [1, -2.5e3, \"a\\u0041\", true, false, null] \n", r#"{"a":{"b":[{}, []]}}"#, "7"]
        {
            let value: Value = document(text.as_bytes()).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        }
        assert_eq!(document::<Value>(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
        let deep = "[".repeat(200_000);
        assert_eq!(document::<Value>(deep.as_bytes()).unwrap_err(), "invalid JSON: exceeded max depth");
    }
}
