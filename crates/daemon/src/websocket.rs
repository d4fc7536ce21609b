//! Attaching by WebSocket (RFC 6455), for browsers: what the container writes are binary messages, without frames of
//! our own in them; what the client sends, text or binary, is the container's input.

use futures_util::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hull_api::stream::Decoder;
use hull_engine::{AttachInput, AttachOutput, Attachment, Error};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::call::{Reply, full, invalid};

/// Size of one message, at most.
const CHUNK: usize = 32 << 10;

/// A client's wish to speak WebSocket.
pub(crate) struct Handshake {
    upgrade: OnUpgrade,
    accept: HeaderValue,
}

impl Handshake {
    /// Reads the request's headers.
    pub(crate) fn read(headers: &HeaderMap, upgrade: Option<OnUpgrade>) -> Result<Self, Error> {
        let is = |name, text: &str| {
            headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(text.as_bytes()))
        };
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        match (upgrade, key) {
            (Some(upgrade), Some(key))
                if is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13") =>
            {
                let accept = derive_accept_key(key.as_bytes());
                let accept = HeaderValue::from_str(&accept).map_err(|why| invalid(why.to_string()))?;
                Ok(Self { upgrade, accept })
            }
            _ => Err(invalid("not websocket protocol")),
        }
    }

    /// Connects `attachment` to the client.
    pub(crate) fn attach(self, attachment: Attachment) -> Reply {
        let Self { upgrade, accept } = self;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(connection) => {
                    let socket =
                        WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
                    converse(socket, attachment).await;
                }
                Err(why) => tracing::debug!("upgrade a connection: {why}"),
            }
        });
        let mut reply = Response::new(full(""));
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        reply
    }
}

/// Copies both ways until the output ends or the client is gone.
async fn converse<S>(socket: WebSocketStream<S>, attachment: Attachment)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut to_client, from_client) = socket.split();
    let Attachment { tty, output, input, .. } = attachment;
    let mut reader = tokio::spawn(read(from_client, input));
    // The client may go away at any moment; that is how conversations end.
    tokio::select! {
        written = write(output, tty, &mut to_client) => {
            if written.is_ok() {
                let _ = to_client.close().await;
            }
        }
        _ = &mut reader => {}
    }
    reader.abort();
}

/// Until the client is gone.
async fn read(
    mut from_client: impl Stream<Item = tungstenite::Result<Message>> + Unpin,
    mut input: AttachInput,
) {
    while let Some(Ok(message)) = from_client.next().await {
        let bytes = match message {
            Message::Binary(_) | Message::Text(_) => message.into_data(),
            Message::Close(_) => break,
            _ => continue,
        };
        // If nobody reads it any more, the output goes on.
        let _ = input.write_all(&bytes).await;
    }
    let _ = input.shutdown().await;
}

async fn write(
    mut output: AttachOutput,
    tty: bool,
    to_client: &mut (impl SinkExt<Message, Error = tungstenite::Error> + Unpin),
) -> Result<(), tungstenite::Error> {
    let (mut buffer, mut decoder) = (vec![0; CHUNK], Decoder::default());
    loop {
        let n = output.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let mut payload = Vec::with_capacity(n);
        if tty {
            payload.extend_from_slice(&buffer[..n]);
        } else {
            let mut framed = &buffer[..n];
            let unknown = |why| tungstenite::Error::Io(std::io::Error::other(why));
            while let Some((_, piece)) = decoder.next(&mut framed).map_err(unknown)? {
                payload.extend_from_slice(piece);
            }
        }
        if !payload.is_empty() {
            to_client.send(Message::binary(payload)).await?;
        }
    }
}
