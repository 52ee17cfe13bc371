//! TLS, where the cargo feature is on that brings it.

#[cfg(feature = "tls")]
pub(crate) use on::{check, encrypted, refusal};

#[cfg(not(feature = "tls"))]
pub(crate) use off::{check, encrypted, refusal};

#[cfg(feature = "tls")]
mod on {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use lockcore::{Error, Result, TlsFiles, host_and_port, tls};
    use rustls::pki_types::ServerName;
    use zookeeper_client::{Connector, TlsOptions};

    use crate::options::invalid;

    /// The library panics if a server can have no certificate.
    pub(crate) fn check(servers: &[String]) -> Result<()> {
        servers.iter().try_for_each(|server| match ServerName::try_from(host_and_port(server).0) {
            Ok(_) => Ok(()),
            Err(source) => Err(invalid(format!("{server} can have no certificate")).with_source(source)),
        })
    }

    pub(crate) fn encrypted(connector: Connector, files: &TlsFiles) -> Result<Connector> {
        tls::choose_provider();
        let refused = |source| invalid("the certificates cannot be used").with_source(source);
        let authority = match files.authority()? {
            Some(pem) => text(pem),
            // The library takes text only.
            None => tls::trusted_certificates().iter().map(|certificate| pem(certificate)).collect(),
        };
        let mut options = TlsOptions::new().with_pem_ca(&authority).map_err(refused)?;
        if let Some((certificate, key)) = files.identity()? {
            options = options.with_pem_identity(&text(certificate), &text(key)).map_err(refused)?;
        }
        Ok(connector.with_tls(options))
    }

    fn text(pem: Vec<u8>) -> String {
        String::from_utf8_lossy(&pem).into_owned()
    }

    fn pem(certificate: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    /// Why this server, or we, refused the other, if that is so. The library keeps it for itself.
    pub(crate) async fn refusal(server: &str, files: &TlsFiles) -> Option<Error> {
        let refused = tls::why_refused(server, None, files).await?;
        Some(refused.with_context(format!("ZooKeeper at {server}")))
    }
}

#[cfg(not(feature = "tls"))]
mod off {
    use lockcore::{Error, Result, TlsFiles};
    use zookeeper_client::Connector;

    use crate::options::invalid;

    pub(crate) fn check(_: &[String]) -> Result<()> {
        Err(invalid("TLS needs the cargo feature \"zookeeper-tls\" (of this crate: \"tls\"), which is off"))
    }

    pub(crate) fn encrypted(_: Connector, _: &TlsFiles) -> Result<Connector> {
        check(&[]).map(|()| unreachable!("it has been refused"))
    }

    pub(crate) async fn refusal(_: &str, _: &TlsFiles) -> Option<Error> {
        None
    }
}
