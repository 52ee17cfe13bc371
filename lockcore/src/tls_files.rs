//! The files of certificates and keys.

use std::path::{Path, PathBuf};

use crate::error::{Result, invalid_config};

/// The PEM files by which servers are recognised, and we by them. They are read whenever a session is opened, so that certificates
/// can be renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub(crate) authority: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Servers need a certificate of an authority that this machine trusts, and we have none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Servers need a certificate of an authority in this file.
    #[must_use]
    pub fn with_authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// We have the certificate in this file, with the private key in the other.
    #[must_use]
    pub fn with_certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((file.into(), key.into()));
        self
    }

    /// Whether there is a file with authorities to trust.
    pub fn has_authority(&self) -> bool {
        self.authority.is_some()
    }

    /// The certificates of the authorities to trust; `None` for those that this machine trusts.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the file, if it cannot be read or has no certificate in it.
    pub fn authority(&self) -> Result<Option<Vec<u8>>> {
        self.authority.as_deref().map(|file| read(file, "CERTIFICATE")).transpose()
    }

    /// Our certificate and its key.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that names the file, if one cannot be read or has nothing of the kind in it.
    pub fn identity(&self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let read =
            |(file, key): &(PathBuf, PathBuf)| Ok((read(file, "CERTIFICATE")?, read(key, "PRIVATE KEY")?));
        self.certificate.as_ref().map(read).transpose()
    }
}

/// What is in a PEM file that has such a section. Libraries tell mistakes late, or not at all.
fn read(file: &Path, section: &str) -> Result<Vec<u8>> {
    let path = file.display();
    let pem = std::fs::read(file)
        .map_err(|source| invalid_config(format!("{path} cannot be read")).with_source(source))?;
    let end = format!("{section}-----");
    if !pem.windows(end.len()).any(|text| text == end.as_bytes()) {
        return Err(invalid_config(format!("{path} has no {section} in PEM")));
    }
    Ok(pem)
}
