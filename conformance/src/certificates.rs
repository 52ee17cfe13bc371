//! Certificates for tests of TLS, made anew for each: good ones, and one of each sort that must be refused.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lockcore::{ErrorKind, QueueBackend, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::deadline::within;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Authority = CertifiedIssuer<'static, KeyPair>;

/// The name for which no server of the tests is called.
pub const ELSEWHERE: &str = "elsewhere.example";

/// Which authority a client trusts, which certificate it has, and what the error says then.
pub type Refusal = (&'static str, Option<&'static str>, &'static str);

/// What TLS must refuse, for each certificate of a server. The server demands a certificate of `ca`.
pub const REFUSED: [(&str, &[Refusal]); 3] = [
    (
        "server",
        &[
            ("other-ca", Some("client"), "UnknownIssuer"),
            ("ca", None, "received fatal alert"),
            ("ca", Some("stranger"), "received fatal alert"),
        ],
    ),
    ("expired", &[("ca", Some("client"), "expired")]),
    ("elsewhere", &[("ca", Some("client"), "not valid for name")]),
];

/// PEM files, which are gone with this.
///
/// * `ca.pem` is the authority of all but `stranger`, and `other-ca.pem` another one;
/// * `server` is for `127.0.0.1`, `::1` and `localhost`, `expired` the same, only out of date, and `elsewhere` for [`ELSEWHERE`];
/// * `client` is for the user `app`, and so is `stranger`.
///
/// Each certificate lies in `<name>.pem`, its key in `<name>.key`.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes all of them.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn new() -> Result<Self> {
        let certificates = Self { directory: tempfile::tempdir()? };
        let [ours, other] = [certificates.authority("ca")?, certificates.authority("other-ca")?];
        let here = || CertificateParams::new(["127.0.0.1", "::1", "localhost"].map(str::to_owned));
        let mut expired = here()?;
        expired.not_before = date_time_ymd(2001, 1, 1);
        expired.not_after = expired.not_before + Duration::from_secs(86_400);
        let client = || CertificateParams::new(vec!["app".to_owned()]);
        for (name, params, authority) in [
            ("server", here()?, &ours),
            ("expired", expired, &ours),
            ("elsewhere", CertificateParams::new(vec![ELSEWHERE.to_owned()])?, &ours),
            ("client", client()?, &ours),
            ("stranger", client()?, &other),
        ] {
            certificates.certificate(name, params, authority)?;
        }
        Ok(certificates)
    }

    fn authority(&self, name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(self.path(&format!("{name}.pem")), authority.pem())?;
        Ok(authority)
    }

    fn certificate(&self, name: &str, mut params: CertificateParams, authority: &Authority) -> Result<()> {
        // PostgreSQL takes the user from there.
        let common_name = if name == "client" { "app" } else { name };
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate()?;
        fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, authority)?.pem())?;
        Ok(fs::write(self.path(&format!("{name}.key")), key.serialize_pem())?)
    }

    /// Where the file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The authority, and the certificate and the key of this name, as servers are [started](crate::server) with them.
    pub fn of(&self, name: &str) -> [PathBuf; 3] {
        [self.path("ca.pem"), self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))]
    }

    /// What a client has that trusts this authority.
    pub fn files(&self, authority: &str, certificate: Option<&str>) -> TlsFiles {
        let files = TlsFiles::new().with_authority(self.path(&format!("{authority}.pem")));
        match certificate {
            Some(name) => {
                files.with_certificate(self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
            }
            None => files,
        }
    }

    /// Puts the certificate and the key of one name in the place of those of another.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn replace(&self, name: &str, by: &str) -> Result<()> {
        for kind in ["pem", "key"] {
            fs::copy(self.path(&format!("{by}.{kind}")), self.path(&format!("{name}.{kind}")))?;
        }
        Ok(())
    }
}

/// Opens a session that TLS must not allow: it ends at once, with an error that names the server and the reason.
///
/// # Panics
///
/// If it does not.
///
/// # Cancel safety
///
/// Safe to drop.
pub async fn is_refused(backend: impl QueueBackend, server: &str, reason: &str) {
    let opened = within("a refusal", backend.open_session()).await;
    let Err(error) = opened else { panic!("TLS lets it in: {backend:?}") };
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    let text = error.to_string();
    assert!(text.contains(server) && text.contains(reason), "{backend:?}: {text}");
}

/// Opens a session of a backend whose client has the certificate `stranger`: that is refused, and no longer when it has been replaced.
///
/// # Panics
///
/// If it is not so.
///
/// # Cancel safety
///
/// Safe to drop.
pub async fn counts_when_renewed(certificates: &Certificates, backend: impl QueueBackend) {
    let refused = within("a refusal", backend.open_session()).await;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::InvalidConfig), "{backend:?}");
    certificates.replace("stranger", "client").expect("the files are there");
    let opened = within("a session", backend.open_session()).await;
    assert!(opened.is_ok(), "{backend:?}: {opened:?}");
}
