//! Cryptography for tests: one provider per process, self-signed certificates, and an HTTP client that needs no certificate store.

use std::{path::Path, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Chooses the process's cryptography (ring), once; harmless when called again.
pub fn install_provider() {
    // An error says that somebody was here before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for plain HTTP on loopback. Each runtime needs its own: connections die with the runtime that made them.
pub fn http_client() -> reqwest::Client {
    install_provider();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .http1_only()
        .build()
        .expect("a client without certificates can be built")
}

/// A certificate for `127.0.0.1` and `localhost` that nobody signed but itself.
pub struct SelfSigned {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// The certificate as text; `tls_ca` in the bridge's configuration names a file with this.
    pub certificate_pem: String,
    /// The private key as text.
    pub key_pem: String,
}

impl SelfSigned {
    /// Makes a new certificate.
    pub fn new() -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// Writes the certificate to `path`.
    pub fn write_certificate(&self, path: &Path) {
        std::fs::write(path, &self.certificate_pem)
            .unwrap_or_else(|error| panic!("cannot write the certificate {}: {error}", path.display()));
    }

    /// What a server needs to show this certificate.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        install_provider();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("the key belongs to the certificate");
        Arc::new(config).into()
    }

    /// What a client needs to trust this certificate, and no other.
    pub fn connector(&self) -> tokio_rustls::TlsConnector {
        install_provider();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("the certificate can be read");
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(config).into()
    }
}
