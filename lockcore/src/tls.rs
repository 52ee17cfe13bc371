//! What drivers that speak TLS have in common, with the cargo feature `tls`.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::{Error, ErrorKind, Result, invalid_config};
use crate::tls_files::TlsFiles;
use crate::url::host_and_port;

/// Sees to it that client libraries find a provider of cryptography where several could be meant. One that the application has chosen
/// stays.
pub fn choose_provider() {
    if CryptoProvider::get_default().is_none() {
        // Somebody else may have been first, which is as good.
        let _ = ring::default_provider().install_default();
    }
}

/// The certificates of the authorities that this machine trusts.
pub fn trusted_certificates() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// The authorities to trust.
///
/// # Errors
///
/// Those of [`TlsFiles::authority`]; [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if a certificate cannot be read.
pub fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let certificates = match (&files.authority, files.authority()?) {
        (Some(file), Some(pem)) => certificates(&pem, file)?,
        _ => trusted_certificates(),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}

/// Our certificate, with those that lead to its authority, and its key.
///
/// # Errors
///
/// Those of [`TlsFiles::identity`]; [`InvalidConfig`](crate::ErrorKind::InvalidConfig) if one cannot be read.
pub fn identity(files: &TlsFiles) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let (Some((file, key_file)), Some((certificate, key))) = (&files.certificate, files.identity()?) else {
        return Ok(None);
    };
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|source| damaged(key_file, source))?;
    Ok(Some((certificates(&certificate, file)?, key)))
}

fn certificates(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    read.map_err(|source| damaged(file, source))
}

fn damaged(file: &Path, source: pem::Error) -> Error {
    invalid_config(format!("{} is damaged", file.display())).with_source(source)
}

/// What an error means at whose bottom TLS said no: the certificate of the server is not what it has to be, or ours is not to it.
pub fn refused(error: &(dyn StdError + 'static)) -> Option<Error> {
    let why = refusal(error)?;
    Some(Error::new(ErrorKind::InvalidConfig, format!("TLS is refused: {why}")))
}

/// Makes one more handshake with a server with which no connection can be made, to find out whether TLS said no: client libraries do
/// not always tell. The name in its certificate has to be `name`, or else the host by which we call it.
///
/// # Cancel safety
///
/// Dropping it closes the connection.
pub async fn why_refused(server: &str, name: Option<&str>, files: &TlsFiles) -> Option<Error> {
    let name = name.unwrap_or_else(|| host_and_port(server).0);
    let refused = timeout(HANDSHAKE, shake_hands(server, name, files)).await.ok()?.err()?;
    self::refused(&*refused).map(|error| error.with_source(refused))
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How long after it a server may take to say that it wants a certificate. Most have nothing to say.
const AFTERTHOUGHT: Duration = Duration::from_millis(250);

async fn shake_hands(
    server: &str,
    name: &str,
    files: &TlsFiles,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    choose_provider();
    let builder = ClientConfig::builder().with_root_certificates(roots(files)?);
    let config = match identity(files)? {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key)?,
        None => builder.with_no_client_auth(),
    };
    let (name, stream) = (ServerName::try_from(name.to_owned())?, TcpStream::connect(server).await?);
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    match timeout(AFTERTHOUGHT, stream.read_u8()).await {
        Ok(said) => Ok(said.map(drop)?),
        Err(_) => Ok(()),
    }
}

fn refusal<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    let chain = iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| below(*error));
    chain.filter_map(|error| error.downcast_ref()).next()
}

/// What caused an error. Two sorts do not tell it as their source.
fn below<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        return Some(&**shared);
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
