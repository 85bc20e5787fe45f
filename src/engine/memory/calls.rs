//! What was asked of the engine.

/// One call, as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name of the [`Engine`](crate::engine::Engine) method.
    pub name: &'static str,
    /// Whether it can change anything.
    pub kind: CallKind,
    /// The container (id or name, as given), volume or image it is about; empty for lists.
    pub object: String,
    /// Name that the container it is about had when it was made, if there was one.
    pub container: Option<String>,
}

/// Whether a call can change the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// It only looks.
    Read,
    /// It changes, or tries to.
    Write,
}

impl Call {
    pub(super) fn read(name: &'static str, object: &str) -> Self {
        Self { name, kind: CallKind::Read, object: object.to_owned(), container: None }
    }

    pub(super) fn write(name: &'static str, object: &str) -> Self {
        Self { name, kind: CallKind::Write, object: object.to_owned(), container: None }
    }
}
