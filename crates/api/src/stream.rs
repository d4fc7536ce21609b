//! The framing of attached output: without a terminal, stdout and stderr share one connection in frames of
//! `[stream, 0, 0, 0, length as 4 bytes big endian]` and payload.

/// Bytes in front of each payload.
pub const HEADER: usize = 8;

/// The media type of a framed stream.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// The media type of a terminal's stream, which is not framed.
pub const RAW: &str = "application/vnd.docker.raw-stream";

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Only echoed by old daemons.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the daemon in the middle of a stream.
    System,
}

impl Stream {
    fn from_byte(byte: u8) -> Option<Self> {
        [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::System].get(usize::from(byte)).copied()
    }
}

/// A stream that is not framed as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized stream: {0}")]
pub struct UnknownStream(pub u8);

/// The header of a payload of `length` bytes.
pub fn header(stream: Stream, length: u32) -> [u8; HEADER] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Takes frames apart as bytes arrive. It hands payload on as far as it is there and never waits for the end of
/// a frame, so the length that a frame announces costs no memory.
#[derive(Debug, Default)]
pub struct Decoder {
    head: [u8; HEADER],
    /// Bytes of `head` that are there.
    filled: usize,
    open: Option<(Stream, usize)>,
}

impl Decoder {
    /// Takes the next piece of payload off `input`; `None` when all of it is taken.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<(Stream, &'i [u8])>, UnknownStream> {
        while !input.is_empty() {
            match self.open {
                Some((stream, left)) => {
                    let (piece, rest) = input.split_at(left.min(input.len()));
                    *input = rest;
                    self.open = (piece.len() < left).then_some((stream, left - piece.len()));
                    return Ok(Some((stream, piece)));
                }
                None => *input = self.take_header(input)?,
            }
        }
        Ok(None)
    }

    /// Whether the input so far ends in the middle of a frame.
    pub fn is_cut(&self) -> bool {
        self.filled > 0 || self.open.is_some()
    }

    fn take_header<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], UnknownStream> {
        let (piece, rest) = input.split_at((HEADER - self.filled).min(input.len()));
        self.head[self.filled..self.filled + piece.len()].copy_from_slice(piece);
        self.filled += piece.len();
        if self.filled == HEADER {
            self.filled = 0;
            let [kind, _, _, _, length @ ..] = self.head;
            let stream = Stream::from_byte(kind).ok_or(UnknownStream(kind))?;
            let length = u32::from_be_bytes(length) as usize;
            self.open = (length > 0).then_some((stream, length));
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(input: &[u8], step: usize) -> Vec<(Stream, Vec<u8>)> {
        let mut decoder = Decoder::default();
        let mut found: Vec<(Stream, Vec<u8>)> = Vec::new();
        for mut chunk in input.chunks(step) {
            while let Some((stream, piece)) = decoder.next(&mut chunk).unwrap() {
                match found.last_mut() {
                    Some((last, bytes)) if *last == stream => bytes.extend_from_slice(piece),
                    _ => found.push((stream, piece.to_vec())),
                }
            }
        }
        assert!(!decoder.is_cut());
        found
    }

    #[test]
    fn frames_survive_any_chunking() {
        let mut input = Vec::new();
        for (stream, text) in [(Stream::Stdout, "one"), (Stream::Stderr, ""), (Stream::Stderr, "two\n")] {
            input.extend(header(stream, text.len() as u32));
            input.extend(text.as_bytes());
        }
        for step in 1..=input.len() {
            let expected = vec![(Stream::Stdout, b"one".to_vec()), (Stream::Stderr, b"two\n".to_vec())];
            assert_eq!(frames(&input, step), expected, "step {step}");
        }
    }

    #[test]
    fn an_unknown_stream_and_a_cut_frame_are_told() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.next(&mut &[9, 0, 0, 0, 0, 0, 0, 1, b'x'][..]), Err(UnknownStream(9)));

        let mut decoder = Decoder::default();
        assert_eq!(decoder.next(&mut &header(Stream::Stdout, u32::MAX)[..]), Ok(None));
        assert_eq!(decoder.next(&mut &b"part"[..]), Ok(Some((Stream::Stdout, &b"part"[..]))));
        assert!(decoder.is_cut());
    }
}
