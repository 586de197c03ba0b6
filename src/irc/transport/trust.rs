//! Which server is believed to be who it says: certificates, and what to do about one that isn't good.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::irc::pool::protocol::TlsSpec;

/// The TLS configuration for all links of a network.
pub(super) fn client_config(spec: &TlsSpec) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &spec.ca_pem {
        Some(pem) => Arc::new(OwnTrust::from_pem(pem, Arc::clone(&provider))?),
        None => Arc::new(Verifier::new(Arc::clone(&provider)).map_err(|e| {
            format!("this machine's trusted certificates can't be read ({e}); install them (package ca-certificates)")
        })?),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring can do TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A link lives for weeks: tickets for coming back sooner would only take memory.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Trusts what the operator names, and nothing else: servers certified by these, and these themselves.
#[derive(Debug)]
struct OwnTrust {
    named: Vec<CertificateDer<'static>>,
    certified: Arc<WebPkiServerVerifier>,
}

impl OwnTrust {
    fn from_pem(pem: &str, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let unusable = |why: String| format!("the `tls_ca` file can't be used: {why}; it must hold PEM certificates");
        let named = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unusable(e.to_string()))?;
        if named.is_empty() {
            return Err(unusable("there is no certificate in it".to_owned()));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            roots.add(certificate.clone()).map_err(|e| unusable(e.to_string()))?;
        }
        let certified = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| unusable(e.to_string()))?;
        Ok(Self { named, certified })
    }
}

impl ServerCertVerifier for OwnTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // A certificate that is named itself is known by its bytes: no name and no date in it could say more.
        if self.named.iter().any(|named| named == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.certified.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.certified.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.certified.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.certified.supported_verify_schemes()
    }
}

/// What went wrong in a handshake with `server`, and what to do.
pub(super) fn explain(server: &str, host: &str, error: &io::Error) -> String {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(fault)) => format!("{server}: {}", explain_certificate(host, fault)),
        Some(Error::InvalidMessage(_)) => {
            format!("{server}: it doesn't speak TLS on this port; IRC with TLS is usually on 6697")
        }
        Some(e) => format!("{server}: the TLS handshake failed ({e})"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("{server}: it hung up during the TLS handshake; does it speak TLS on this port?")
        }
        None => format!("{server}: the TLS handshake failed ({error})"),
    }
}

fn explain_certificate(host: &str, fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; tell the network's operators (and check this machine's clock)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate isn't valid yet; check this machine's clock".to_owned()
        }
        // A bad signature is what another CA of the same name gives.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by nobody we trust; if that is right for this server, name its CA, or the \
             certificate itself, in `tls_ca`"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate isn't for the name `{host}`, but for: {}; use one of those in `servers`",
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::NotValidForName => {
            format!("its certificate isn't for the name `{host}`; use the name it was made for in `servers`")
        }
        CertificateError::Revoked => "its certificate has been revoked; tell the network's operators".to_owned(),
        other => {
            format!("its certificate can't be verified ({other}); a self-signed one can be named itself in `tls_ca`")
        }
    }
}
