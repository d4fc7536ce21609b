//! Raw connections: what attach and exec become after the answer.
//!
//! A client that sends `Upgrade: tcp` gets 101 and the connection. For one that does not, [`crate::bare`] asks in its
//! place; what even that does not know, HTTP/1.0 for one, gets 200 and the output as the body, without a way in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use hull_api::stream::{MULTIPLEXED, RAW};
use hull_api::version::ApiVersion;
use hull_engine::{Attachment, Error};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::bare::Bare;
use crate::call::{Reply, full, streamed};
use crate::listen::Peer;

/// Size of one copy. Large, because attached output is copied from socket to socket.
const CHUNK: usize = 256 << 10;
/// How long a client may take to read the head of the answer before the stream follows all the same.
const HEAD_TIME: Duration = Duration::from_millis(100);
/// Pause before each look whether it has.
const HEAD_PAUSE: Duration = Duration::from_millis(1);
/// Pause before each look whether a client that sends no more is still there.
const LEAVE_PAUSE: Duration = Duration::from_secs(1);
/// The version since which a multiplexed stream has a media type of its own.
const MULTIPLEXED_SINCE: ApiVersion = ApiVersion { major: 1, minor: 42 };

/// Connects `attachment` to the client.
pub(crate) fn hijack(upgrade: Option<OnUpgrade>, version: ApiVersion, attachment: Attachment) -> Reply {
    let kind = media_type(attachment.tty, version);
    let Some(upgrade) = upgrade else {
        return streamed(RAW, chunks(attachment.output));
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => {
                let connection = match connection.downcast::<TokioIo<Bare>>() {
                    Ok(parts) => parts,
                    Err(_) => return tracing::error!("an upgraded connection is none of ours"),
                };
                let (connection, ahead) = (connection.io.into_inner().into_raw(), connection.read_buf);
                converse(ahead, connection, attachment).await;
            }
            Err(why) => tracing::debug!("upgrade a connection: {why}"),
        }
    });
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    reply
}

/// Refuses a conversation: in plain text, for here clients await a stream and no JSON.
pub(crate) fn refusal(why: &Error) -> Reply {
    let mut reply = crate::call::refusal(why);
    *reply.body_mut() = full(format!("{}\r\n", why.message));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(RAW));
    // These clients read to the end.
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Waits until the client has read the head of the answer: docker-py for one reads it through a buffer, goes on with
/// the socket itself, and loses what came in the same breath. With a slower daemon that does not happen.
async fn head_is_read(client: &Peer) {
    let deadline = Instant::now() + HEAD_TIME;
    loop {
        match client.unread() {
            None => return tokio::time::sleep(HEAD_PAUSE).await,
            Some(1..) if Instant::now() < deadline => tokio::time::sleep(HEAD_PAUSE).await,
            Some(_) => return,
        }
    }
}

/// Waits until the client is gone, which nothing tells who only writes, and seldom.
async fn leaves(client: &Peer) {
    while !client.has_left() {
        tokio::time::sleep(LEAVE_PAUSE).await;
    }
}

/// The media type of output.
pub(crate) fn media_type(tty: bool, version: ApiVersion) -> &'static str {
    if tty || version < MULTIPLEXED_SINCE { RAW } else { MULTIPLEXED }
}

/// Copies both ways until the output ends. The client's half-close ends the input alone, where that is the program's
/// end of input, and otherwise both; so does the client's disappearance.
async fn converse(ahead: Bytes, connection: Bare, attachment: Attachment) {
    let client = match connection.peer() {
        Ok(client) => Arc::new(client),
        Err(why) => return tracing::error!("watch an attached client: {why}"),
    };
    let (mut from_client, mut to_client) = tokio::io::split(connection);
    let Attachment { mut output, mut input, leaves_with_input, .. } = attachment;
    let watched = Arc::clone(&client);
    let mut reader = tokio::spawn(async move {
        // Either side may go away at any moment; that is how conversations end.
        let mut from_client_all = ahead.as_ref().chain(&mut from_client);
        let copied = tokio::io::copy_buf(
            &mut tokio::io::BufReader::with_capacity(CHUNK, &mut from_client_all),
            &mut input,
        )
        .await;
        if leaves_with_input && copied.is_ok() {
            return;
        }
        // The output goes on for who still reads it; an input may wait for the start of its container to be closed.
        let closed = async {
            let _ = input.shutdown().await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = closed => {}
            () = leaves(&watched) => {}
        }
    });
    tokio::select! {
        _ = copy(&mut output, &mut to_client, head_is_read(&client)) => {}
        _ = &mut reader => {}
    }
    let _ = to_client.shutdown().await;
    reader.abort();
}

/// Copies until the end; nothing is written before `ready`.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    ready: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut ready = Some(ready);
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        if let Some(ready) = ready.take() {
            ready.await;
        }
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
    }
}

/// A reader as the chunks of a body.
pub(crate) fn chunks(
    reader: impl AsyncRead + Send + Unpin + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(reader, async |mut reader| {
        let mut buffer = bytes::BytesMut::with_capacity(CHUNK / 4);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(buffer.freeze()), reader)),
            Err(why) => Some((Err(why), reader)),
        }
    })
}
