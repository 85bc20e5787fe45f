#![allow(missing_docs)]
use super::*;
use std::path::Path;
#[derive(Debug)] pub struct Problems;
impl Problems { pub fn render(&self, _c: bool) -> String { String::new() } pub fn summary(&self) -> String { String::new() } }
pub fn load_contents(_p: &Path, _c: std::io::Result<Vec<u8>>, _env: &dyn Fn(&str) -> Option<String>) -> Result<Manifest, Problems> { Err(Problems) }
pub fn load(_p: &Path, _env: &dyn Fn(&str) -> Option<String>) -> Result<Manifest, Problems> { Err(Problems) }
pub fn find(_e: Option<&Path>, _c: &Path) -> Result<std::path::PathBuf, String> { Err(String::new()) }
