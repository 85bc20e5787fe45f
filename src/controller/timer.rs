//! Waiting for a moment that there may not be.

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep_until};

/// Completes at `time`, with nothing if there is none (a `select!` arm then waits for ever).
pub(super) async fn at(time: Option<Instant>) -> Option<()> {
    OptionFuture::from(time.map(sleep_until)).await
}
