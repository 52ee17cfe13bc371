//! `fairlock cleanup`: away with what unused locks left behind.

use std::process::ExitCode;

use crate::exit::Failure;
use crate::output;
use crate::service::{close, look};

pub(crate) async fn cleanup(url: Option<&str>) -> Result<ExitCode, Failure> {
    let service = look(url).await?;
    let removed = service.cleanup().await;
    close(&*service).await;
    output::line(format_args!("unused locks removed: {}", removed?))?;
    Ok(ExitCode::SUCCESS)
}
