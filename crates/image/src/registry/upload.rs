//! Sending content to a repository.

use std::path::Path;
use std::sync::Arc;

use hull_oci::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio_util::io::{InspectReader, ReaderStream};

use super::failure::Failure;
use super::session::{Request, Session, header, refusal};
use crate::error::Error;
use crate::manifest::Descriptor;

const PIECE: usize = 128 * 1024;

impl Session {
    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Failure> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let answer = self.send(Request::new(Method::HEAD, url.clone())).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal("HEAD", &url, answer).await),
        }
    }

    /// Takes the blob over from another repository of the same registry, if that has it and we may.
    pub(crate) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Failure> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        let mut request = Request::new(Method::POST, url.clone());
        request.headers.insert(CONTENT_LENGTH, header("0")?);
        request.more_scopes.push(format!("repository:{from}:pull"));
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            // It began an upload instead.
            StatusCode::ACCEPTED => {
                let upload = self.location(&url, &answer)?;
                let _ = self.send(Request::new(Method::DELETE, upload)).await;
                Ok(false)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal("POST", &url, answer).await),
        }
    }

    /// Sends a blob, from its file.
    pub(crate) async fn upload(
        &self,
        blob: &Descriptor,
        path: &Path,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), Failure> {
        let url = self.url("blobs/uploads/")?;
        let mut begin = Request::new(Method::POST, url.clone());
        begin.headers.insert(CONTENT_LENGTH, header("0")?);
        let answer = self.expect(begin, &[StatusCode::ACCEPTED]).await?;
        let location = self.location(&url, &answer)?;

        let body = || stream(path, Arc::clone(&sent));
        let mut send = Request::new(Method::PATCH, location.clone());
        send.headers.insert(CONTENT_TYPE, header("application/octet-stream")?);
        send.headers.insert(CONTENT_LENGTH, header(&blob.size.to_string())?);
        send.body = Some(&body);
        let answer = self.expect(send, &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT]).await?;

        let mut finish = self.location(&location, &answer)?;
        finish.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let mut end = Request::new(Method::PUT, finish);
        end.headers.insert(CONTENT_LENGTH, header("0")?);
        self.expect(end, &[StatusCode::CREATED]).await.map(drop)
    }

    /// Stores a manifest under a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let body = || Body::from(bytes.to_vec());
        let mut request = Request::new(Method::PUT, self.url(&format!("manifests/{name}"))?);
        request.headers.insert(CONTENT_TYPE, header(media_type)?);
        request.body = Some(&body);
        self.expect(request, &[StatusCode::CREATED, StatusCode::OK]).await.map(drop)
    }

    /// Where an upload goes on. It has our credentials, so it must be on our host.
    fn location(&self, url: &Url, answer: &Response) -> Result<Url, Failure> {
        let location =
            answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut next = url
            .join(location)
            .map_err(|error| Error::Invalid(format!("upload location {location:?}: {error}")))?;
        if next.host_str() == self.host.base.host_str() && next.port() == self.host.base.port() {
            // Registries behind a proxy that ends TLS write http into their locations.
            if self.host.base.scheme() == "https" && next.set_scheme("https").is_ok() {
                return Ok(next);
            }
        }
        match next.origin() == self.host.base.origin() {
            true => Ok(next),
            false => Err(Error::Invalid(format!("upload location {next} is on another host")).into()),
        }
    }
}

/// A file's content, from its beginning, whichever sending this is.
fn stream(path: &Path, sent: Arc<dyn Fn(u64) + Send + Sync>) -> Body {
    match std::fs::File::open(path) {
        Ok(file) => {
            let file = tokio::fs::File::from_std(file);
            let counted = InspectReader::new(file, move |bytes: &[u8]| sent(bytes.len() as u64));
            Body::wrap_stream(ReaderStream::with_capacity(counted, PIECE))
        }
        Err(error) => Body::wrap_stream(futures_util::stream::iter([Err::<bytes::Bytes, _>(error)])),
    }
}
