//! Reconciles until told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::intent::{Intent, Reader};
use super::reconciler::{Reconciler, Until};
use super::{Controller, manifest_source};
use crate::engine::Engine;
use crate::event::Event;
use crate::manifest::Manifest;
use crate::probe::Probe;
use crate::status::Status;

impl<E: Engine, P: Probe> Controller<E, P> {
    /// Reconciles what a file says until told to stop; registries are left running. `first` is the manifest as it was
    /// loaded to begin with. How everything was in the end, as far as it was known.
    pub async fn watch(&self, path: PathBuf, first: Manifest, stop: &CancellationToken) -> Option<Status> {
        self.reporter.report(&Event::Watching { file: path.clone(), cluster: first.name.to_string() });
        let (reader, intents) = Reader::new(self, path.clone(), &first);
        let (file_out, file) = mpsc::unbounded_channel();
        let mut sources = JoinSet::new();
        let (reporter, env) = (Arc::clone(&self.reporter), Arc::clone(&self.env));
        sources.spawn(manifest_source::run(path, reporter, env, file_out, reader.refusals()));
        sources.spawn(reader.run(file));
        let status = self.reconcile(intents, stop).await;
        while let Some(ended) = sources.try_join_next() {
            // A panic is a defect of ksail's own.
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        status
    }

    /// Reconciles whatever is asked for until told to stop. How everything was in the end.
    pub async fn reconcile(&self, intents: watch::Receiver<Intent>, stop: &CancellationToken) -> Option<Status> {
        let mut reconciler = Reconciler::new(self, intents, Until::Stopped);
        reconciler.run(stop).await;
        reconciler.status
    }
}
