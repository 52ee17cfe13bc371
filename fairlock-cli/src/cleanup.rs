//! `fairlock cleanup`: away with what unused locks left behind.

use std::process::ExitCode;

use crate::exit::Failure;
use crate::output;
use crate::service::looking;

pub(crate) async fn cleanup(url: Option<&str>) -> Result<ExitCode, Failure> {
    let removed = looking(url, async |service| Ok(service.cleanup().await?)).await?;
    output::line(format_args!("unused locks removed: {removed}"))?;
    Ok(ExitCode::SUCCESS)
}
