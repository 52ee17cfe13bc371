//! What is exported is what the documentation, the dashboard and the alerts name.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use backend_memory::Memory;
use fairlock::metrics::{self, Kind};
use fairlock::{AcquireOptions, DistributedLockExt, LockService, SessionEvent, Wait};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const PAGE: &str = include_str!("../../docs/observability.md");
const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let builder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap();
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

/// The names of our metrics in a text, without what Prometheus adds to those of histograms.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("fairlock_"));
    let plain = |word: &str| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let suffix = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        suffix.unwrap_or(word).to_owned()
    };
    ours.map(plain).collect()
}

fn all() -> BTreeSet<String> {
    metrics::ALL.iter().map(|metric| metric.name.to_owned()).collect()
}

#[test]
fn the_page_the_dashboard_and_the_alerts_name_what_is_exported() {
    assert_eq!(named(PAGE), all());
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(named(&dashboard.to_string()), all(), "the dashboard shows each");
    for metric in metrics::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            _ => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {kind} | {}", metric.name, labels.join(", "));
        assert!(PAGE.contains(row.trim_end()), "the page has no row {row}");
    }
}

/// The value of a series of the export.
fn value(export: &str, series: &str) -> Option<f64> {
    let rest = export.lines().find_map(|line| line.strip_prefix(series))?;
    rest.trim().parse().ok()
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_listed_is_counted() {
    let (recorder, handle) = recorder();
    let _recorder = ::metrics::set_default_local_recorder(&recorder);
    metrics::describe();
    assert!(metrics::label_locks(|name| Some(name.as_str().split('/').next().unwrap().to_owned().into())));
    let network = Memory::new().client().with_session_timeout(Duration::from_secs(10));
    let locks = network.connect().await.unwrap();
    let lock = locks.exclusive("orders/42").unwrap();

    let guard = lock.acquire().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert!(lock.acquire_with(&AcquireOptions::new().with_permits(9)).await.is_err());
    assert!(tokio::time::timeout(Duration::from_secs(1), lock.acquire()).await.is_err());
    let labels = |more: &str| format!("{{backend=\"the memory\",kind=\"exclusive\",lock=\"orders\"{more}}}");
    let export = handle.render();
    let outcome = |outcome: &str| {
        let labels = labels(&format!(",outcome=\"{outcome}\""));
        value(&export, &format!("fairlock_acquisitions_total{labels}"))
    };
    for ended in ["granted", "not_in_time", "failed", "cancelled"] {
        assert_eq!(outcome(ended), Some(1.0), "{ended}: {export}");
    }
    assert_eq!(value(&export, &format!("fairlock_holders{}", labels(""))), Some(1.0), "{export}");
    assert_eq!(value(&export, &format!("fairlock_waiters{}", labels(""))), Some(0.0), "{export}");
    assert_eq!(value(&export, "fairlock_session_state{backend=\"the memory\"}"), Some(2.0), "{export}");
    let _ = guard.release().await.unwrap();
    let export = handle.render();
    assert_eq!(value(&export, &format!("fairlock_holders{}", labels(""))), Some(0.0), "{export}");
    assert_eq!(value(&export, &format!("fairlock_hold_seconds_count{}", labels(""))), Some(1.0), "{export}");

    let (guard, mut events) = (lock.acquire().await.unwrap(), locks.events());
    network.expire();
    while !matches!(events.next().await, Some(SessionEvent::Reopened { .. })) {}
    drop(guard);
    let export = handle.render();
    let lost = labels(",reason=\"expired\"");
    assert_eq!(value(&export, &format!("fairlock_lost_holds_total{lost}")), Some(1.0), "{export}");
    let lost = "fairlock_lost_sessions_total{backend=\"the memory\",reason=\"expired\"}";
    assert_eq!(value(&export, lost), Some(1.0), "{export}");
    let requests = "fairlock_requests_total{backend=\"the memory\",operation=\"enqueue\",outcome=\"ok\"}";
    assert!(value(&export, requests).is_some_and(|requests| requests >= 3.0), "{export}");
    // Memory has nothing to renew.
    let counted: BTreeSet<String> = named(&export);
    let missing: Vec<_> = all().difference(&counted).cloned().collect();
    assert_eq!(missing, ["fairlock_renewal_lateness_seconds"], "{export}");
    let waits = AcquireOptions::new().with_wait(Wait::Never);
    assert!(lock.acquire_with(&waits).await.unwrap().is_some());
}
