//! TLS as PostgreSQL's own clients understand `sslmode`.

use std::sync::Arc;

use lockcore::{Result, TlsFiles, tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
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

/// What the servers have to prove, and the files with which they and we do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostgresTls {
    mode: TlsMode,
    files: TlsFiles,
}

impl PostgresTls {
    /// In this mode, with these files.
    pub fn new(mode: TlsMode, files: TlsFiles) -> Self {
        Self { mode, files }
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
        let config = match tls::identity(&self.files)? {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => builder
                .with_client_auth_cert(certificates, key)
                .map_err(|source| invalid("our certificate does not fit its key").with_source(source))?,
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let checks = match self.mode {
            TlsMode::Disable | TlsMode::Prefer => None,
            TlsMode::Require if !self.files.has_authority() => None,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => Some(tls::roots(&self.files)?),
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
            PostgresTls::new(TlsMode::VerifyFull, TlsFiles::new().with_authority(missing)),
            PostgresTls::new(TlsMode::Require, TlsFiles::new().with_authority(missing)),
            PostgresTls::new(TlsMode::Prefer, TlsFiles::new().with_certificate(missing, missing)),
        ] {
            let error = tls.load().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
