//! What a registry counts of its own work.

/// Prints the page with the counters, in a registry's own container: from outside the page cannot be reached. Images
/// without `wget` have no counters to show. That of busybox asks the container's proxy whatever `NO_PROXY` says, so that
/// it is told of none.
pub const READ_COUNTERS: [&str; 5] = ["env", "http_proxy=", "wget", "-qO-", "http://127.0.0.1:5001/debug/vars"];

/// Requests a pull-through cache answered from its volume, and those it asked its upstream for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CacheCounters {
    /// Answered from the volume.
    pub hits: u64,
    /// Asked of the upstream.
    pub misses: u64,
}

impl CacheCounters {
    /// `.registry.proxy.{blobs,manifests}` of the registry's expvar page, which versions 2 and 3 have alike.
    pub fn from_expvar(body: &[u8]) -> Option<Self> {
        let page: serde_json::Value = serde_json::from_slice(body).ok()?;
        let proxy = page.pointer("/registry/proxy")?;
        let sum = |field: &str| -> u64 {
            ["blobs", "manifests"].iter().filter_map(|kind| proxy.get(kind)?.get(field)?.as_u64()).sum()
        };
        Some(Self { hits: sum("Hits"), misses: sum("Misses") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_blobs_and_manifests() {
        let page = br#"{"registry":{"proxy":{"blobs":{"Hits":3,"Misses":2},"manifests":{"Hits":1,"Misses":4}}}}"#;
        assert_eq!(CacheCounters::from_expvar(page), Some(CacheCounters { hits: 4, misses: 6 }));
    }

    #[test]
    fn a_page_without_counters_is_no_counters() {
        assert_eq!(CacheCounters::from_expvar(b"{}"), None);
        assert_eq!(CacheCounters::from_expvar(b"not json"), None);
    }
}
