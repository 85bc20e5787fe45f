//! Renders what happened, for people and for programs.

mod backlog;
mod json;
mod text;
mod writer;

pub use json::{Json, plan_as_json, status_as_json};
pub use text::{Text, plan_as_text, status_as_table};
pub use writer::{Writer, Written};
