//! TLS on TCP sockets, with certificates of clients when they are wanted: dockerd's --tls and --tlsverify.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::settings::Settings;

/// Where certificates are looked for when no flag names them.
const DIRECTORY: &str = "/etc/hull";

/// The acceptor that the settings ask for; none without TLS.
///
/// # Errors
/// A message that names the file that cannot be used and why.
pub(crate) fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>, String> {
    if !settings.tls {
        return Ok(None);
    }
    let path = |given: &Option<std::path::PathBuf>, name: &str| {
        given.clone().unwrap_or_else(|| Path::new(DIRECTORY).join(name))
    };
    let certificates = certificates(&path(&settings.tlscert, "cert.pem"))?;
    let key_path = path(&settings.tlskey, "key.pem");
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .map_err(|why| format!("read TLS key {}: {why}", key_path.display()))?;
    let builder = rustls::ServerConfig::builder();
    let builder = match settings.verifies_clients() {
        true => builder.with_client_cert_verifier(verifier(&path(&settings.tlscacert, "ca.pem"))?),
        false => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(certificates, key).map_err(|why| format!("TLS key: {why}"))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn verifier(authority: &Path) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|why| format!("use {}: {why}", authority.display()))?;
    }
    WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .map_err(|why| format!("use {}: {why}", authority.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|why| format!("read TLS certificate {}: {why}", path.display()))?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("read TLS certificate {}: {why}", path.display()))
}
