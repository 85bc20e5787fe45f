use std::path::{Path, PathBuf};

use ksail::manifest::find;

#[test]
fn an_explicit_path_is_taken_from_the_directory_and_absolute() {
    let found = |path: &str| find(Some(Path::new(path)), Path::new("/nowhere"));
    assert_eq!(found("b.yaml"), Ok(PathBuf::from("/nowhere/b.yaml")));
    assert_eq!(found("./a/b.yaml"), Ok(PathBuf::from("/nowhere/a/b.yaml")));
    assert_eq!(found("/a/b.yaml"), Ok(PathBuf::from("/a/b.yaml")));
}

#[test]
fn a_path_that_goes_up_is_not_shortened_where_a_link_may_lead_elsewhere() {
    assert_eq!(find(Some(Path::new("../b.yaml")), Path::new("/no/where")), Ok(PathBuf::from("/no/where/../b.yaml")));
}

#[test]
fn the_nearest_manifest_above_is_found() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("a/b/c");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(root.path().join("ksail.yaml"), "").unwrap();
    assert_eq!(find(None, &deep), Ok(root.path().join("ksail.yaml")));
    std::fs::write(root.path().join("a/ksail.yaml"), "").unwrap();
    assert_eq!(find(None, &deep), Ok(root.path().join("a/ksail.yaml")));
}

#[test]
fn a_directory_of_that_name_is_not_a_manifest() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("ksail.yaml")).unwrap();
    assert!(find(None, root.path()).is_err());
}

#[test]
fn nothing_found_says_where_it_looked_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let message = find(None, root.path()).unwrap_err().to_string().replace(root.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(message, @r#"
    there is no ksail.yaml in DIR or a directory above it
    'ksail cluster init' writes one here; '--file PATH' names one elsewhere
    "#);
}

#[test]
fn a_file_called_almost_so_is_pointed_out() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("ksail.yml"), "").unwrap();
    let message = find(None, root.path()).unwrap_err().to_string().replace(root.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(message, @r#"
    there is no ksail.yaml in DIR or a directory above it
    'ksail cluster init' writes one here; '--file PATH' names one elsewhere; DIR/ksail.yml is there, and would be found as ksail.yaml
    "#);
}
