//! Compression of layers and archives, told by the first bytes and never by what a media type claims. All codecs run
//! in this process (CVE-2026-41567: no program of an image is ever executed for this).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::error::{Error, Result};

const BUFFER: usize = 128 * 1024;

/// What anything may unpack to, however small it is packed.
const HARMLESS: u64 = 4 << 30;
/// Beyond that, so many times its packed size: two to four times is usual, bombs reach a thousand.
const MOST_RATIO: u64 = 100;

/// What an unpacker may keep in memory to look back in: 128 MiB, which the zstd program itself accepts without being
/// asked, and twice what the highest level of xz needs.
const WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Tells by the first bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// Whether OCI has a media type for layers that are packed so; others are kept unpacked.
    pub(crate) fn is_of_layers(self) -> bool {
        matches!(self, Self::None | Self::Gzip | Self::Zstd)
    }
}

/// The uncompressed content of `source`, whatever its compression.
pub(crate) fn decompress<'a>(source: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    Packed::open(source)?.content(HARMLESS)
}

/// `source` as a layer may be stored, and its compression: as it is, or unpacked where layers are not packed so.
pub(crate) fn as_layer<'a>(
    source: impl Read + Send + 'a,
) -> Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let packed = Packed::open(source)?;
    match packed.compression {
        kept if kept.is_of_layers() => Ok((kept, Box::new(packed.source))),
        _ => Ok((Compression::None, packed.content(HARMLESS)?)),
    }
}

/// A stream whose compression is known.
struct Packed<R> {
    compression: Compression,
    source: BufReader<Eager<R>>,
    /// Bytes read of it so far.
    read: Arc<AtomicU64>,
}

impl<'a, R: Read + Send + 'a> Packed<R> {
    fn open(source: R) -> Result<Self> {
        let read = Arc::new(AtomicU64::new(0));
        let mut source = BufReader::with_capacity(BUFFER, Eager { inner: source, read: Arc::clone(&read) });
        let start = source.fill_buf().map_err(|error| Error::Invalid(format!("read archive: {error}")))?;
        Ok(Self { compression: Compression::of(start), source, read })
    }

    fn content(self, harmless: u64) -> Result<Box<dyn Read + Send + 'a>> {
        let content: Box<dyn Read + Send + 'a> = match self.compression {
            Compression::None => return Ok(Box::new(self.source)),
            Compression::Gzip => Box::new(MultiGzDecoder::new(self.source)),
            Compression::Zstd => {
                let failed = |error| Error::System(format!("start zstd: {error}"));
                let mut decoder = zstd::stream::read::Decoder::with_buffer(self.source).map_err(failed)?;
                decoder.window_log_max(WINDOW_LOG).map_err(failed)?;
                Box::new(decoder)
            }
            Compression::Bzip2 => Box::new(MultiBzDecoder::new(self.source)),
            Compression::Xz => Box::new(XzReader::new_mem_limit(self.source, true, 1 << (WINDOW_LOG - 10))),
        };
        Ok(Box::new(Guarded { content, packed: self.read, unpacked: 0, harmless }))
    }
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
        let mut out = Vec::new();
        decompress(Drip(bytes)).unwrap().read_to_end(&mut out).unwrap();
        (Compression::of(bytes), out)
    }

    /// `hello`, as the program xz packs it.
    const XZ: &[u8] =
        b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x04hello\0\0\0\0\xb17\xb9\
        \xdb\xe5\xda\x1e\x9b\0\x01\x1d\x05\xb8-\x80\xaf\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn tells_and_decodes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let members = [
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::Zstd, zstd::encode_all(&b"hello"[..], 1).unwrap()),
            (Compression::Bzip2, bzip2(b"hello")),
            (Compression::Xz, XZ.to_vec()),
        ];
        for (compression, member) in members {
            assert_eq!(content(&member), (compression, b"hello".to_vec()));
            assert_eq!(content(&[member.clone(), member].concat()).1, b"hellohello", "{compression:?}");
        }
        assert_eq!(content(b"hello"), (Compression::None, b"hello".to_vec()));
        assert_eq!(content(b""), (Compression::None, Vec::new()));
    }

    #[test]
    fn bombs_end() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 8 << 20]).unwrap();
        let zstd = zstd::encode_all(io::repeat(0).take(8 << 20), 19).unwrap();
        for bomb in [gzip.finish().unwrap(), zstd, bzip2(&vec![0; 8 << 20])] {
            let unpack = |harmless| {
                let mut content = Packed::open(&bomb[..]).unwrap().content(harmless).unwrap();
                io::copy(&mut content, &mut io::sink())
            };
            assert!(unpack(1 << 20).unwrap_err().to_string().contains("bomb"));
            assert_eq!(unpack(8 << 20).unwrap(), 8 << 20);
        }
    }

    #[test]
    fn xz_may_not_take_all_memory() {
        let mut huge = XZ.to_vec();
        // The header of the block with a window of a GiB, and its checksum.
        huge[16] = 0x24;
        huge[20..24].copy_from_slice(&[0x5e, 0x1f, 0xc7, 0xf9]);
        let why = io::copy(&mut decompress(&huge[..]).unwrap(), &mut io::sink()).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::OutOfMemory, "{why}");
    }

    #[test]
    fn damage_is_an_error() {
        let packed = [XZ.to_vec(), bzip2(b"hello")];
        for (whole, place) in packed.iter().flat_map(|whole| (6..whole.len()).map(move |at| (whole, at))) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            let mut out = Vec::new();
            let outcome = decompress(&damaged[..]).unwrap().read_to_end(&mut out);
            assert!(outcome.is_err() || out == b"hello", "{place}");
            let cut = io::copy(&mut decompress(&whole[..place]).unwrap(), &mut io::sink());
            assert!(cut.is_err(), "cut at {place}");
        }
    }

    #[test]
    fn layers_are_stored_packed_as_oci_knows() {
        let stored = |bytes: &[u8]| {
            let mut out = Vec::new();
            let (compression, mut layer) = as_layer(bytes).unwrap();
            layer.read_to_end(&mut out).unwrap();
            (compression, out)
        };
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        assert_eq!(stored(&zstd), (Compression::Zstd, zstd.clone()));
        assert_eq!(stored(XZ), (Compression::None, b"hello".to_vec()));
    }
}
