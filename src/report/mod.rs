//! Renders what happened, for people and for programs.

mod backlog;
mod json;
mod line;
mod text;
mod told;
mod writer;

pub use json::{Json, ended_as_json, left_out_as_json, plan_as_json, status_as_json};
pub use text::{Text, conditions_as_table, left_out_as_text, plan_as_text, status_as_table};
pub use writer::{Writer, Written};
