//! Compression of layers and archives, told by the first bytes and never by what a media type claims. All codecs run
//! in this process (CVE-2026-41567: no program of an image is ever executed for this).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

const BUFFER: usize = 128 * 1024;

/// What anything may unpack to, however small it is packed.
const HARMLESS: u64 = 4 << 30;
/// Beyond that, so many times its packed size: two to four times is usual, bombs reach a thousand.
const MOST_RATIO: u64 = 100;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Tells by the first bytes; names what is known and not supported.
    pub(crate) fn of(start: &[u8]) -> Result<Self> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(unsupported("xz")),
            _ => Ok(Self::None),
        }
    }
}

fn unsupported(name: &str) -> Error {
    Error::NotSupported(format!(
        "archive is compressed with {name}, which is not supported; use gzip or zstd"
    ))
}

/// The uncompressed content of `source`, whatever its compression.
pub(crate) fn decompress<'a>(
    source: impl Read + Send + 'a,
) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    decompress_within(source, HARMLESS)
}

fn decompress_within<'a>(
    source: impl Read + Send + 'a,
    harmless: u64,
) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let packed = Arc::new(AtomicU64::new(0));
    let mut source = BufReader::with_capacity(BUFFER, Eager { inner: source, read: Arc::clone(&packed) });
    let start = source.fill_buf().map_err(|error| Error::Invalid(format!("read archive: {error}")))?;
    let compression = Compression::of(start)?;
    let content: Box<dyn Read + Send> = match compression {
        Compression::None => return Ok((compression, Box::new(source))),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(source);
            let mut decoder = decoder.map_err(|error| Error::System(format!("start zstd: {error}")))?;
            // 128 MiB of window: what the zstd program itself accepts without being asked.
            decoder.window_log_max(27).map_err(|error| Error::System(format!("start zstd: {error}")))?;
            Box::new(decoder)
        }
    };
    Ok((compression, Box::new(Guarded { content, packed, unpacked: 0, harmless })))
}

/// Ends what unpacks to beyond all measure before it fills the disk.
struct Guarded<'a> {
    content: Box<dyn Read + Send + 'a>,
    packed: Arc<AtomicU64>,
    unpacked: u64,
    harmless: u64,
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.unpacked += count as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        if self.unpacked > self.harmless.saturating_add(packed.saturating_mul(MOST_RATIO)) {
            let text =
                format!("{packed} bytes unpack to more than {} bytes: a decompression bomb", self.unpacked);
            return Err(io::Error::other(text));
        }
        Ok(count)
    }
}

/// Fills the first read as far as it goes, so that a short first piece does not hide the magic bytes; counts.
struct Eager<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Eager<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const ENOUGH: usize = 6;
        let mut filled = 0;
        while filled < ENOUGH.min(buffer.len()) {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.read.fetch_add(filled as u64, Ordering::Relaxed);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Gives one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn content(bytes: &[u8]) -> (Compression, Vec<u8>) {
        let (compression, mut reader) = decompress(Drip(bytes)).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        (compression, out)
    }

    #[test]
    fn tells_and_decodes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let member = gzip.finish().unwrap();
        assert_eq!(content(&member), (Compression::Gzip, b"hello".to_vec()));
        assert_eq!(content(&[member.clone(), member].concat()).1, b"hellohello");
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        assert_eq!(content(&zstd), (Compression::Zstd, b"hello".to_vec()));
        assert_eq!(content(b"hello"), (Compression::None, b"hello".to_vec()));
        assert_eq!(content(b""), (Compression::None, Vec::new()));
    }

    #[test]
    fn bombs_end() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 8 << 20]).unwrap();
        let zstd = zstd::encode_all(io::repeat(0).take(8 << 20), 19).unwrap();
        for bomb in [gzip.finish().unwrap(), zstd] {
            let unpack = |harmless| {
                let (_, mut content) = decompress_within(&bomb[..], harmless).unwrap();
                io::copy(&mut content, &mut io::sink())
            };
            assert!(unpack(1 << 20).unwrap_err().to_string().contains("bomb"));
            assert_eq!(unpack(8 << 20).unwrap(), 8 << 20);
        }
    }

    #[test]
    fn names_what_it_cannot() {
        assert!(matches!(decompress(&b"BZh91AY"[..]), Err(Error::NotSupported(_))));
    }
}
