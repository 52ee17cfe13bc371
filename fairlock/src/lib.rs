//! Fair distributed locks for Rust.

use std::sync::Arc;

pub use lockcore::*;

/// All schemes that this build knows: those of the cargo features that are on.
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "memory")]
    let registry = registry.with(backend_memory::SCHEME, backend_memory::MemoryFactory);
    #[cfg(feature = "zookeeper")]
    let registry = registry.with(backend_zookeeper::SCHEME, backend_zookeeper::ZooKeeperFactory);
    registry
}

/// Connects to where the URL (or other [configuration](Config)) says that the locks live.
///
/// # Errors
///
/// Those of [`Registry::connect`].
///
/// # Cancel safety
///
/// When dropped, a session that was being opened ends by itself.
pub async fn connect(config: impl Into<Config>) -> Result<Arc<dyn LockService>> {
    registry().connect(&config.into()).await
}
