//! Answers that are read while they come.

use super::{Error, Stream};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// A JSON message that is longer is an attack or a mistake.
const LONGEST_MESSAGE: usize = 16 << 20;

/// The bytes of an answer.
#[derive(Debug)]
pub struct Body {
    status: StatusCode,
    headers: HeaderMap,
    incoming: Incoming,
}

impl Body {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        let (head, incoming) = response.into_parts();
        Body { status: head.status, headers: head.headers, incoming }
    }

    /// The answer's status, below 400.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next bytes, or nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.incoming.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// An answer of JSON messages, one after the other.
#[derive(Debug)]
pub struct Messages<T> {
    body: Body,
    path: String,
    buffer: BytesMut,
    ended: bool,
    message: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Messages<T> {
    pub(super) fn new(body: Body, path: String) -> Self {
        Messages { body, path, buffer: BytesMut::new(), ended: false, message: PhantomData }
    }

    /// The next message, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }

    /// A message that is there in full.
    fn take(&mut self) -> Result<Option<T>, Error> {
        let mut documents = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
        let found = documents.next();
        let used = documents.byte_offset();
        match found {
            Some(Ok(message)) => {
                self.buffer.advance(used);
                Ok(Some(message))
            }
            Some(Err(reason)) if reason.is_eof() && !self.ended && self.buffer.len() < LONGEST_MESSAGE => {
                Ok(None)
            }
            Some(Err(source)) => Err(Error::Malformed { path: self.path.clone(), source }),
            None => Ok(None),
        }
    }
}

/// A connection that was taken over: what is written goes to the container, what is read comes from it.
#[derive(Debug)]
pub struct Hijacked {
    /// The connection. Shutting it down ends the container's input and leaves its output open.
    pub stream: Stream,
    /// Output that came with the answer's head; it precedes what `stream` yields.
    pub early: Bytes,
    /// The media type of the output, if the daemon told it.
    pub content_type: Option<HeaderValue>,
}

impl Hijacked {
    pub(super) fn new(stream: Stream, early: Bytes, content_type: Option<HeaderValue>) -> Self {
        Hijacked { stream, early, content_type }
    }
}
