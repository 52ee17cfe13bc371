//! SASL, where the cargo feature is on that brings it.

#[cfg(feature = "sasl")]
pub(crate) use on::{authenticated, check};

#[cfg(not(feature = "sasl"))]
pub(crate) use off::{authenticated, check};

#[cfg(feature = "sasl")]
mod on {
    use lockcore::{Credentials, Result};
    use zookeeper_client::{Connector, SaslOptions};

    pub(crate) fn check() -> Result<()> {
        Ok(())
    }

    /// Says who we are by DIGEST-MD5.
    pub(crate) fn authenticated(connector: Connector, credentials: &Credentials) -> Result<Connector> {
        let password = credentials.password()?.unwrap_or_default();
        Ok(connector.with_sasl(SaslOptions::digest_md5(credentials.user().to_owned(), password)))
    }
}

#[cfg(not(feature = "sasl"))]
mod off {
    use lockcore::{Credentials, Result};
    use zookeeper_client::Connector;

    use crate::options::invalid;

    pub(crate) fn check() -> Result<()> {
        Err(invalid(
            "SASL needs the cargo feature \"zookeeper-sasl\" (of this crate: \"sasl\"), which is off",
        ))
    }

    pub(crate) fn authenticated(_: Connector, _: &Credentials) -> Result<Connector> {
        check().map(|()| unreachable!("it has been refused"))
    }
}
