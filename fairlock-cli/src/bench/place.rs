//! Where the locks that are measured live.

use std::sync::Arc;

use fairlock::{DistributedLock, EntryId, LockService, LockUrl};

use super::options::Kind;
use crate::exit::Failure;
use crate::service::{self, close, connect};

/// A place, and a name under which all locks that are used there have theirs.
pub(super) struct Place {
    url: String,
    parsed: LockUrl,
    prefix: String,
    resident: Option<u64>,
}

impl Place {
    pub(super) fn new(url: Option<&str>) -> Result<Self, Failure> {
        let mut url = service::place(url)?;
        let prefix = format!("fairlock-bench/{}", EntryId::random());
        // Services that contend have to find one another.
        if let Some(options) =
            url.strip_prefix("memory://").filter(|rest| rest.is_empty() || rest.starts_with('?'))
        {
            url = format!("memory://fairlock-bench{options}");
        }
        Ok(Self { parsed: url.parse()?, url, prefix, resident: resident() })
    }

    pub(super) fn url(&self) -> &LockUrl {
        &self.parsed
    }

    /// The memory of this process before anything was measured.
    pub(super) fn resident(&self) -> Option<u64> {
        self.resident
    }

    /// A service for each contender, as if each were a process.
    pub(super) async fn services(&self, count: u32) -> Result<Vec<Arc<dyn LockService>>, Failure> {
        let mut services = Vec::new();
        for _ in 0..count {
            services.push(connect(Some(&self.url)).await?);
        }
        Ok(services)
    }

    /// The lock of this number.
    pub(super) fn lock(
        &self,
        service: &dyn LockService,
        kind: Kind,
        limit: u32,
        number: u32,
    ) -> Result<Arc<dyn DistributedLock>, Failure> {
        let name = format!("{}/{number}", self.prefix);
        Ok(match kind {
            Kind::Exclusive => service.exclusive(&name),
            Kind::Shared => service.shared(&name),
            Kind::Semaphore => service.semaphore(&name, limit),
        }?)
    }

    /// Removes what locks that nobody uses have left.
    pub(super) async fn tidy(&self) -> Result<(), Failure> {
        let service = connect(Some(&self.url)).await?;
        let removed = service.cleanup().await;
        close(&*service).await;
        Ok(removed.map(drop)?)
    }
}

/// How many bytes of memory this process has, from proc(5).
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let told = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    told.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}
