//! Certificates of a test's own, made by OpenSSL.

use std::path::Path;
use std::process::Command;

/// Makes an authority (`ca.crt`), a server at 127.0.0.1 (`server.crt`, `server.key`) and a client by it, and a `stranger`
/// who is an authority, too.
///
/// # Panics
/// Without OpenSSL.
pub fn make(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    for name in ["ca", "stranger"] {
        let (key_file, file) = (format!("{name}.key"), format!("{name}.crt"));
        let own = ["req", "-x509", "-subj", "/CN=authority", "-keyout", &key_file, "-out", &file];
        openssl(&[&own[..], &key].concat());
    }
    for name in ["server", "client"] {
        let (key_file, file) = (format!("{name}.key"), format!("{name}.crt"));
        let own = ["req", "-x509", "-subj", "/CN=one", "-keyout", &key_file, "-out", &file];
        let by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
        let of = ["-addext", "subjectAltName=IP:127.0.0.1"];
        openssl(&[&own[..], &by, &of, &key].concat());
    }
}
