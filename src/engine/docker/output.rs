//! What a container writes, line by line as it comes.

use std::ops::ControlFlow;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tracing::{Instrument, debug_span};

use super::Docker;
use crate::engine::Result;
use crate::limit::{ENGINE_MESSAGE, LOG_LINE};

impl Docker {
    /// Tells each line that a container has written, the last `tail` of them or all, and with `follow` those that it writes
    /// until it ends. A line that is longer than any of a registry's is told in parts. Whoever has heard enough breaks.
    ///
    /// # Errors
    ///
    /// When there is no such container, or the engine does not give its log (some log drivers cannot).
    pub async fn output(
        &self,
        id: &str,
        tail: Option<u32>,
        follow: bool,
        hear: impl FnMut(&str) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        self.stream_output(id, tail, follow, hear).instrument(debug_span!("engine", call = "logs", object = id)).await
    }

    async fn stream_output(
        &self,
        id: &str,
        tail: Option<u32>,
        follow: bool,
        mut hear: impl FnMut(&str) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&tail).follow(follow).build();
        let link = self.connection.link().await?;
        // The limit is for a message: how much a registry has said in all is its own affair.
        let (client, meter) = link.client(ENGINE_MESSAGE);
        let mut parts = client.logs(id, Some(options));
        let mut line = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| self.connection.failed(&link, "logs", error, &meter))?;
            meter.refill();
            for byte in part.into_bytes() {
                if byte != b'\n' {
                    line.push(byte);
                }
                if byte == b'\n' || line.len() >= LOG_LINE {
                    if hear(&String::from_utf8_lossy(&line)).is_break() {
                        return Ok(());
                    }
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            let _ = hear(&String::from_utf8_lossy(&line));
        }
        Ok(())
    }
}
