//! Images: what is in the store, and what a pull brings.

use super::world::World;
use crate::digest;
use crate::engine::{EngineError, Image, PullProgress, Result};

impl World {
    pub(super) fn add_image(&mut self, reference: &str, mut image: Image) {
        let reference = familiar(reference);
        if image.id.is_empty() {
            image.id = format!("sha256:{}", digest::sha256(reference.as_bytes()));
        }
        self.images.insert(reference, image);
    }

    pub(super) fn remove_image(&mut self, reference: &str) {
        self.images.remove(&familiar(reference));
    }

    pub(super) fn set_pull(&mut self, reference: &str, outcome: Result<Image, String>) {
        self.pulls.insert(familiar(reference), outcome);
    }

    pub(super) fn inspect_image(&self, reference: &str) -> Result<Image> {
        let by_id = || self.images.values().find(|image| image.id == reference);
        self.images
            .get(&familiar(reference))
            .or_else(by_id)
            .cloned()
            .ok_or_else(|| EngineError::NotFound { message: format!("No such image: {reference}") })
    }

    pub(super) fn pull_image(&mut self, reference: &str, progress: &impl Fn(PullProgress)) -> Result<()> {
        let familiar = familiar(reference);
        let outcome = self.pulls.get(&familiar).cloned().unwrap_or_else(|| {
            let repository = familiar.rsplit_once(':').map_or(familiar.as_str(), |(repository, _)| repository);
            Err(format!("pull access denied for {repository}, repository does not exist or may require 'docker login'"))
        });
        let image = outcome.map_err(|message| EngineError::PullFailed { message })?;
        let line = |status: &str| PullProgress { status: status.to_owned(), ..PullProgress::default() };
        progress(line(&format!("Pulling from {familiar}")));
        self.add_image(reference, image);
        progress(line(&format!("Status: Downloaded newer image for {familiar}")));
        Ok(())
    }
}

/// `docker.io/library/registry` and `registry` are both `registry:latest`.
fn familiar(reference: &str) -> String {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let last = short.rsplit('/').next().unwrap_or(short);
    if last.contains([':', '@']) { short.to_owned() } else { format!("{short}:latest") }
}
