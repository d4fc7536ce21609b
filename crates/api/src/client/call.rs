//! One call: path, query, headers, body; and the ways to read its answer.

use super::connection::{Sender, Stream};
use super::{Body, Client, Error, Hijacked, Messages};
use crate::wire::ErrorBody;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// The body of a request.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// What stays as it is in a query; image names in paths keep their slashes, too.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/').remove(b':').remove(b'@');

/// The most that is read of a refusal.
const LARGEST_REFUSAL: usize = 1 << 20;

/// A call that is being put together. Nothing is sent before one of the reading methods is awaited.
pub struct Call<'c> {
    client: &'c Client,
    method: Method,
    target: String,
    has_query: bool,
    headers: HeaderMap,
    body: RequestBody,
    broken: Option<Error>,
}

impl<'c> Call<'c> {
    pub(super) fn new(client: &'c Client, method: Method, path: &[&str]) -> Self {
        let mut target = format!("/v{}", client.version);
        for segment in path {
            target.push('/');
            target.extend(utf8_percent_encode(segment, PATH));
        }
        Call::unversioned(client, method, &target)
    }

    pub(super) fn unversioned(client: &'c Client, method: Method, target: &str) -> Self {
        let body = full(Bytes::new());
        let target = target.to_owned();
        Call { client, method, target, has_query: false, headers: HeaderMap::new(), body, broken: None }
    }

    /// Adds a parameter.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.has_query { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, QUERY));
        self.has_query = true;
        self
    }

    /// Adds a parameter if it has a value.
    pub fn query_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `name=1` if it is set.
    pub fn flag(self, name: &str, set: bool) -> Self {
        self.query_if(name, set.then_some("1"))
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        match value.parse() {
            Ok(value) => {
                self.headers.insert(name, value);
            }
            Err(reason) => self.broken = Some(Error::Request(http::Error::from(reason))),
        }
        self
    }

    /// Sends this as JSON.
    pub fn json<T: Serialize>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body = full(Bytes::from(bytes)),
            Err(source) => self.broken = Some(Error::Malformed { path: self.target.clone(), source }),
        }
        self.header("content-type", "application/json")
    }

    /// Sends these bytes as they come, of this media type.
    pub fn stream<S>(mut self, media_type: &str, bytes: S) -> Self
    where
        S: futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.body = BodyExt::boxed_unsync(StreamBody::new(bytes.map_ok(Frame::data)));
        self.header("content-type", media_type)
    }

    /// Sends, and reads an answer of JSON.
    pub async fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let path = self.target.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Malformed { path, source })
    }

    /// Sends, and reads the whole answer.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let client = self.client;
        let (response, sender) = self.exchange().await?;
        let bytes = response.into_body().collect().await?.to_bytes();
        client.keep(sender);
        Ok(bytes)
    }

    /// Sends, and tells only the status: 304 is no error.
    pub async fn status(self) -> Result<StatusCode, Error> {
        let client = self.client;
        let (response, sender) = self.exchange().await?;
        let status = response.status();
        response.into_body().collect().await?;
        client.keep(sender);
        Ok(status)
    }

    /// Sends, and tells only the headers.
    pub async fn headers(self) -> Result<HeaderMap, Error> {
        let client = self.client;
        let (response, sender) = self.exchange().await?;
        let (head, body) = response.into_parts();
        body.collect().await?;
        client.keep(sender);
        Ok(head.headers)
    }

    /// Sends, and hands the answer out while it comes.
    pub async fn send(self) -> Result<Body, Error> {
        let (response, _) = self.exchange().await?;
        Ok(Body::new(response))
    }

    /// Sends, and hands the answer out as JSON messages while they come.
    pub async fn messages<T: DeserializeOwned>(self) -> Result<Messages<T>, Error> {
        let path = self.target.clone();
        Ok(Messages::new(self.send().await?, path))
    }

    /// Sends, and takes the connection over when the daemon agreed.
    pub async fn hijack(self) -> Result<Hijacked, Error> {
        let call = self.header("connection", "Upgrade").header("upgrade", "tcp");
        let (response, _) = call.exchange().await?;
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        let upgraded = hyper::upgrade::on(response).await?;
        match upgraded.downcast::<TokioIo<Stream>>() {
            Ok(parts) => Ok(Hijacked::new(parts.io.into_inner(), parts.read_buf, content_type)),
            Err(_) => {
                Err(Error::Io(io::Error::other("the hijacked connection is not the one that was opened")))
            }
        }
    }

    /// The request and the head of its answer; a refusal becomes an error.
    async fn exchange(self) -> Result<(Response<Incoming>, Sender), Error> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let mut sender = self.client.connection().await?;
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.target)
            .header(header::HOST, "api.hull")
            .header(header::USER_AGENT, concat!("Hull-Client/", env!("CARGO_PKG_VERSION"), " (linux)"))
            .body(self.body)?;
        request.headers_mut().extend(self.headers);
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(refusal(status, response).await);
        }
        Ok((response, sender))
    }
}

/// The daemon's words, or what it sent instead.
async fn refusal(status: StatusCode, response: Response<Incoming>) -> Error {
    let body = http_body_util::Limited::new(response.into_body(), LARGEST_REFUSAL);
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) if !body.message.is_empty() => body.message,
        _ => match String::from_utf8_lossy(&bytes).trim() {
            "" => status.to_string(),
            text => text.to_owned(),
        },
    };
    Error::Refused { status, message }
}

fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
