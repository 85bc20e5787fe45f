//! Pulling an image.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::connection::Connection;
use super::credentials;
use crate::engine::{EngineError, PullProgress, Result};
use crate::limit::ENGINE_MESSAGE;

/// A pull takes as long as it takes, but not in silence.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn pull(
    connection: &Arc<Connection>,
    cli_config: Option<&Path>,
    reference: &str,
    progress: impl Fn(PullProgress) + Send + Sync,
) -> Result<()> {
    let link = connection.link().await?;
    let credentials = match cli_config {
        Some(directory) => credentials::of_registry(directory, reference).await,
        None => None,
    };
    let options = CreateImageOptionsBuilder::default().from_image(&with_tag(reference)).build();
    let (client, meter) = link.client(ENGINE_MESSAGE);
    let mut lines = client.create_image(Some(options), None, credentials).boxed();
    loop {
        match tokio::time::timeout(SILENCE, lines.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                meter.refill();
                progress(said(info));
            }
            Ok(Some(Err(
                Error::DockerStreamError { error: message } | Error::DockerResponseServerError { message, .. },
            ))) => return Err(EngineError::PullFailed { message }),
            Ok(Some(Err(error))) => return Err(connection.failed(&link, "pull image", error, &meter)),
            Err(_) => {
                return Err(EngineError::Timeout { call: "pull image".to_owned(), seconds: SILENCE.as_secs() });
            }
        }
    }
}

fn said(info: CreateImageInfo) -> PullProgress {
    let detail = info.progress_detail.unwrap_or_default();
    let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    PullProgress {
        id: info.id.unwrap_or_default(),
        status: info.status.unwrap_or_default(),
        current: bytes(detail.current),
        total: bytes(detail.total),
    }
}

/// The API takes a reference without a tag for all tags of the repository.
fn with_tag(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_is_pulled_as_latest() {
        assert_eq!(with_tag("registry"), "registry:latest");
        assert_eq!(with_tag("localhost:5000/registry"), "localhost:5000/registry:latest");
        assert_eq!(with_tag("registry:3"), "registry:3");
        assert_eq!(with_tag("registry@sha256:00"), "registry@sha256:00");
    }
}
