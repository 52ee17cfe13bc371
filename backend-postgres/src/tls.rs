//! TLS as PostgreSQL's own clients understand `sslmode`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockcore::Result;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::invalid;

/// Whether to talk through TLS, and what a server has to prove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it.
    #[default]
    Prefer,
    /// TLS. The server proves nothing, unless an authority is given: then as [`VerifyCa`](Self::VerifyCa).
    Require,
    /// TLS, with a certificate of the authority, or of one that this machine trusts.
    VerifyCa,
    /// The same, and the certificate is for the name by which we call the server.
    VerifyFull,
}

impl TlsMode {
    /// The values of `sslmode`.
    pub(crate) const WORDS: [(&'static str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

/// How the servers are recognised, and how they recognise us. The files are read whenever a connection is made, so that
/// certificates can be renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostgresTls {
    mode: TlsMode,
    authority: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

impl PostgresTls {
    /// In this mode, with the authorities that this machine trusts, and no certificate of ours.
    pub fn new(mode: TlsMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Servers need a certificate of the authority in this PEM file.
    #[must_use]
    pub fn with_authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// We have the certificate in this PEM file, with the private key in the other.
    #[must_use]
    pub fn with_certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((file.into(), key.into()));
        self
    }

    pub(crate) fn mode(&self) -> TlsMode {
        self.mode
    }

    /// What makes connections.
    pub(crate) fn load(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| invalid("TLS cannot be used").with_source(source))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((file, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable(key, source))?;
                builder.with_client_auth_cert(certificates(file)?, key).map_err(|source| {
                    invalid(format!("{} does not fit its key", file.display())).with_source(source)
                })?
            }
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let checks = match (self.mode, &self.authority) {
            (TlsMode::Disable | TlsMode::Prefer, _) | (TlsMode::Require, None) => None,
            (TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull, _) => Some(self.roots()?),
        };
        let Some(roots) = checks else {
            return Ok(Arc::new(Lenient { strict: None, provider: provider.clone() }));
        };
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let strict =
            strict.map_err(|source| invalid("there is no authority to trust").with_source(source))?;
        if self.mode == TlsMode::VerifyFull {
            return Ok(strict);
        }
        Ok(Arc::new(Lenient { strict: Some(strict), provider: provider.clone() }))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let certificates = match &self.authority {
            Some(file) => certificates(file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Ok(roots)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|source| unreadable(file, source))
}

fn unreadable(file: &Path, source: rustls::pki_types::pem::Error) -> lockcore::Error {
    invalid(format!("{} cannot be read", file.display())).with_source(source)
}

/// Asks for less than TLS does: not for the name of the server, and without an authority for nothing but that the
/// server has the key of its certificate.
#[derive(Debug)]
struct Lenient {
    strict: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(strict) = &self.strict else { return Ok(ServerCertVerified::assertion()) };
        // The name is what is looked at last.
        match strict.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use lockcore::ErrorKind;

    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let missing = "/no/such/file";
        for tls in [
            PostgresTls::new(TlsMode::VerifyFull).with_authority(missing),
            PostgresTls::new(TlsMode::Require).with_authority(missing),
            PostgresTls::new(TlsMode::Prefer).with_certificate(missing, missing),
        ] {
            let error = tls.load().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
