//! Lines of output as records: of JSON, or binary entries.

use hull_shim::protocol::{LogFile, LogFormat, Stream};

use super::binary::EntryRecorder;
use super::json::JsonRecorder;
use crate::clock::Stamp;

/// What makes records of one stream's lines.
pub(super) enum Recorder {
    Json(JsonRecorder),
    Entries(EntryRecorder),
}

impl Recorder {
    pub(super) fn new(stream: Stream, config: &LogFile) -> Self {
        match config.format {
            LogFormat::JsonFile => Self::Json(JsonRecorder::new(stream, &config.attrs)),
            LogFormat::Entries => Self::Entries(EntryRecorder::new(stream)),
        }
    }

    /// Sets the time of the records that follow.
    pub(super) fn stamp(&mut self, now: &Stamp) {
        match self {
            Self::Json(recorder) => recorder.stamp(now),
            Self::Entries(recorder) => recorder.stamp(now),
        }
    }

    /// The most bytes that a record takes.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Json(recorder) => recorder.room(),
            Self::Entries(_) => EntryRecorder::ROOM,
        }
    }

    /// Records the lines of `text` that are complete or too long, while there is room in `out` and until `enough` is
    /// written. Returns how much was taken and written.
    pub(super) fn lines(&mut self, text: &[u8], out: &mut [u8], enough: usize) -> (usize, usize) {
        match self {
            Self::Json(recorder) => recorder.lines(text, out, enough),
            Self::Entries(recorder) => recorder.lines(text, out, enough),
        }
    }

    /// Records what is left when a stream ends; how much was written. There must be room for it.
    pub(super) fn rest(&mut self, text: &[u8], out: &mut [u8]) -> usize {
        match self {
            Self::Json(recorder) => recorder.rest(text, out),
            Self::Entries(recorder) => recorder.rest(text, out),
        }
    }
}
