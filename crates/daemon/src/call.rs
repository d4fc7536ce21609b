//! One request on its way down, and one answer on its way back.
//!
//! A [`Call`] is what a handler gets: the path's parameters and the query already taken apart, the body not yet
//! read. A handler returns a [`Reply`], or an [`engine::Error`](hull_engine::Error), whose kind is its status.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hull_api::version::ApiVersion;
use hull_api::wire::versions::Versioned;
use hull_engine::{Error, Kind};
use hyper::body::Body as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::parse;

/// A JSON body that is larger is not a request of Docker's API.
const MAX_JSON: usize = 8 << 20;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer ready to be sent.
pub(crate) type Reply = Response<Body>;
/// What a handler returns.
pub(crate) type Outcome = Result<Reply, Error>;

/// A request, taken apart.
pub(crate) struct Call {
    /// The version the client speaks, from the path's prefix.
    pub(crate) version: ApiVersion,
    /// The request's headers.
    pub(crate) headers: HeaderMap,
    /// The way to the raw connection, when the client asked to upgrade.
    pub(crate) upgrade: Option<OnUpgrade>,
    params: HashMap<&'static str, String>,
    query: Query,
    body: RequestBody,
}

/// The body of a request. What nobody has read of it is read all the same when this goes, up to a bound: a client that
/// still sends would lose the answer.
pub(crate) struct RequestBody(Option<Incoming>);

impl RequestBody {
    /// As much of it as Go's servers read.
    const DRAINED: usize = 256 << 10;
}

impl From<Incoming> for RequestBody {
    fn from(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) {
            // Whether it ends well matters to nobody.
            tokio::spawn(async move { Limited::new(body, Self::DRAINED).collect().await.map(drop).ok() });
        }
    }
}

/// The version that a client understands which asked in `asked`. Compose 1 asks in the newest that the daemon names,
/// and then dies of the fields that it does not have any more: an image's container, an event's id.
fn understood(headers: &HeaderMap, asked: ApiVersion) -> ApiVersion {
    let agent = headers.get(header::USER_AGENT).map(http::HeaderValue::as_bytes).unwrap_or_default();
    match agent.starts_with(b"docker-compose/1.") {
        true => asked.min(ApiVersion::v1(44)),
        false => asked,
    }
}

impl Call {
    /// Takes `request` apart; `params` come from the route that matched. Fails where the query is none.
    pub(crate) fn new(
        mut request: http::Request<Incoming>,
        version: ApiVersion,
        params: HashMap<&'static str, String>,
    ) -> Result<Self, Error> {
        let wants_upgrade = request.headers().contains_key(header::UPGRADE);
        let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let version = understood(&parts.headers, version);
        let body = RequestBody::from(body);
        Ok(Self { version, headers: parts.headers, upgrade, params, query, body })
    }

    /// Whether the client speaks version 1.`minor` or a newer one.
    pub(crate) fn since(&self, minor: u16) -> bool {
        self.version >= ApiVersion::v1(minor)
    }

    /// The answer to a prune: the report, or since 1.56 with `stream` one line for each thing that went (its name, and
    /// what happened to it), and the report in the last one.
    pub(crate) fn pruned<T: Serialize>(
        &self,
        report: &T,
        steps: impl IntoIterator<Item = (String, &'static str)>,
    ) -> Outcome {
        if !self.since(56) || !self.query.flag("stream") {
            return ok(report);
        }
        let report = serde_json::to_value(report).map_err(unencodable)?;
        let steps = steps.into_iter().map(|(id, status)| serde_json::json!({ "status": status, "id": id }));
        let mut lines = String::new();
        for message in steps.chain([serde_json::json!({ "aux": report })]) {
            lines += &format!("{message}\n");
        }
        let mut reply = Response::new(full(lines));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
        Ok(reply)
    }

    /// A parameter of the path. Empty when the route has no such parameter.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The query of the request.
    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    /// Reads the whole body as JSON, which must be there. Docker wants its content type.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (bytes, _) = self.expect_json().await?;
        parse::document(&bytes).map_err(invalid)
    }

    /// The same as it stands there.
    pub(crate) async fn document(self) -> Result<serde_json::Value, Error> {
        let (bytes, _) = self.expect_json().await?;
        parse::value(&bytes).map_err(invalid)
    }

    /// Reads the body as JSON where there may be none: nothing, or the `null` of older clients. A body that is
    /// announced must be one.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(self) -> Result<T, Error> {
        match self.expect_json().await? {
            (_, Some(0)) => Ok(T::default()),
            (bytes, _) => Ok(parse::document::<Option<T>>(&bytes).map_err(invalid)?.unwrap_or_default()),
        }
    }

    /// The body, and its length if that was said beforehand.
    async fn expect_json(self) -> Result<(Bytes, Option<u64>), Error> {
        let length = self.body_length();
        let kind =
            self.headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        match kind.as_deref() {
            None | Some("") if length == Some(0) => {}
            kind => expect_media_type(kind.unwrap_or(""))?,
        }
        let body = Limited::new(self.body, MAX_JSON).collect().await;
        let bytes = body.map_err(|why| invalid(format!("read the request's body: {why}")))?.to_bytes();
        Ok((bytes, length))
    }

    /// How long the body is, if that was said beforehand.
    pub(crate) fn body_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The body as a stream of bytes, for archives.
    pub(crate) fn into_body(self) -> RequestBody {
        self.body
    }
}

/// Refuses what is not sent as JSON.
fn expect_media_type(kind: &str) -> Result<(), Error> {
    let media_type = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
    };
    if media_type.is_empty() {
        return Err(invalid(format!("malformed Content-Type header ({kind}): mime: no media type")));
    }
    if !media_type.split('/').all(token) || media_type.split('/').count() > 2 {
        return Err(invalid(format!(
            "malformed Content-Type header ({kind}): mime: expected token after slash"
        )));
    }
    match media_type == "application/json" {
        true => Ok(()),
        false => {
            Err(invalid(format!("unsupported Content-Type header ({kind}): must be 'application/json'")))
        }
    }
}

/// The query string: a key may stand several times.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=1&b=%20`; plus is a space, as in HTML forms.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            if pair.contains(';') {
                return Err(invalid("invalid semicolon separator in query"));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The first value of `key`; none when absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// Whether `key` is there, even without a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Every value of `key`.
    pub(crate) fn all<'q>(&'q self, key: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Docker's reading of a boolean: everything is true but these.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let value = self.get(key).unwrap_or("").trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`flag`](Self::flag), with a value for when the key is absent.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.has(key) { self.flag(key) } else { default }
    }

    /// A number; absent is none, anything else is the caller's mistake.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let is_number = text.strip_prefix(['-', '+']).unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        text.parse().map(Some).map_err(|_| invalid(format!("strconv.Atoi: parsing {text:?}: {why}")))
    }
}

/// A part of a query without its escapes.
fn decode(part: &str) -> Result<String, Error> {
    let escapes = part.match_indices('%').map(|(at, _)| &part.as_bytes()[at..part.len().min(at + 3)]);
    for escape in escapes {
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            let shown = String::from_utf8_lossy(escape);
            return Err(invalid(format!("invalid URL escape \"{shown}\"")));
        }
    }
    Ok(percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned())
}

/// A mistake of the caller's.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

fn unencodable(why: serde_json::Error) -> Error {
    Error::new(Kind::System, format!("encode the answer: {why}"))
}

/// `value` as JSON, with Go's trailing newline.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Outcome {
    let mut bytes = serde_json::to_vec(value).map_err(unencodable)?;
    bytes.push(b'\n');
    written(status, bytes)
}

/// JSON that is written already.
fn written(status: StatusCode, bytes: Vec<u8>) -> Outcome {
    let mut reply = Response::new(full(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}

/// `value` as JSON with status 200.
pub(crate) fn ok<T: Serialize>(value: &T) -> Outcome {
    json(StatusCode::OK, value)
}

/// The same for what differs by version: what the client's has of it.
pub(crate) fn spoken<T: Serialize + Versioned>(version: ApiVersion, mut value: T) -> Outcome {
    value.speak(version);
    ok(&value)
}

/// A long list as JSON, written item by item: as values, only one of them is there at a time.
pub(crate) struct List {
    version: ApiVersion,
    bytes: Vec<u8>,
}

impl List {
    /// An empty list for a client of that version.
    pub(crate) fn new(version: ApiVersion) -> Self {
        Self { version, bytes: vec![b'['] }
    }

    /// Adds what the client's version has of `item`.
    pub(crate) fn push<T: Serialize + Versioned>(&mut self, mut item: T) -> Result<(), Error> {
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        item.speak(self.version);
        serde_json::to_writer(&mut self.bytes, &item).map_err(unencodable)
    }

    /// The answer.
    pub(crate) fn done(mut self) -> Outcome {
        self.bytes.extend_from_slice(b"]\n");
        written(StatusCode::OK, self.bytes)
    }
}

/// A status without a body.
pub(crate) fn status(status: StatusCode) -> Outcome {
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = status;
    Ok(reply)
}

/// 204: done, and nothing to say about it.
pub(crate) fn no_content() -> Outcome {
    status(StatusCode::NO_CONTENT)
}

/// A body known in full.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body sent as it is made.
pub(crate) fn streamed(
    kind: &'static str,
    stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Reply {
    let mut reply =
        Response::new(BodyExt::boxed_unsync(StreamBody::new(stream.map(|chunk| chunk.map(Frame::data)))));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// The status of an error and its body, `{"message": …}`.
pub(crate) fn refusal(error: &Error) -> Reply {
    let status = match error.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::System => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refusal_with(status, &error.message)
}

/// An error body with a status of its own.
pub(crate) fn refusal_with(status: StatusCode, message: &str) -> Reply {
    let body = serde_json::json!({ "message": message }).to_string() + "\n";
    if status == StatusCode::NOT_MODIFIED {
        let mut reply = Response::new(full(Bytes::new()));
        *reply.status_mut() = status;
        return reply;
    }
    let mut reply = Response::new(full(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=0&c=False&d=yes&e=&f=none").unwrap();
        let read: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g"].iter().map(|key| query.flag(key)).collect();
        assert_eq!(read, [true, false, false, true, false, false, false]);
        assert!(query.flag_or("g", true));
        assert!(!query.flag_or("e", true));
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D&names=x&names=y+z").unwrap();
        assert_eq!(query.get("filters"), Some(r#"{"a":["b c"]}"#));
        assert_eq!(query.all("names").collect::<Vec<_>>(), ["x", "y z"]);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        let said = |text| Query::parse(text).unwrap_err().message;
        assert_eq!(said("a=%zz"), "invalid URL escape \"%zz\"");
        assert_eq!(said("a=1%2"), "invalid URL escape \"%2\"");
        assert_eq!(said("a=1;b=2"), "invalid semicolon separator in query");
        let query = Query::parse("limit=x&n=99999999999999999999").unwrap();
        assert_eq!(
            query.number::<i64>("limit").unwrap_err().message,
            "strconv.Atoi: parsing \"x\": invalid syntax"
        );
        let large = query.number::<i64>("n").unwrap_err().message;
        assert_eq!(large, "strconv.Atoi: parsing \"99999999999999999999\": value out of range");
    }

    #[test]
    fn only_json_is_json() {
        let said = |kind| expect_media_type(kind).map_err(|why| why.message);
        assert_eq!(said("application/json; charset=utf-8"), Ok(()));
        assert_eq!(said("Application/JSON"), Ok(()));
        let text = "unsupported Content-Type header (text/plain): must be 'application/json'";
        assert_eq!(said("text/plain"), Err(text.to_owned()));
        assert!(said("").is_err() && said("a/b/c").is_err());
    }
}
