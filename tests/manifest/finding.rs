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

/// One further up is another cluster's, which `cluster delete` would take for the one that is meant.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_told_and_the_manifest_of_a_directory_above_does_not_stand_in_for_it() {
    let root = tempfile::tempdir().unwrap();
    let (deep, path) = (root.path().join("a/b"), root.path().join("a/ksail.yaml"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(root.path().join("ksail.yaml"), "").unwrap();
    let refusal = || find(None, &deep).unwrap_err().to_string().replace(root.path().to_str().unwrap(), "DIR");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    insta::assert_snapshot!(refusal(), @r"
    DIR/a/ksail.yaml is a link to what is not there
    mend it or remove it; '--file PATH' names a manifest elsewhere
    ");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("ksail.yaml", &path).unwrap();
    assert!(refusal().starts_with("DIR/a/ksail.yaml cannot be looked at: "), "{}", refusal());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(refusal().starts_with("DIR/a/ksail.yaml is a directory\n"), "{}", refusal());
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(refusal().starts_with("DIR/a/ksail.yaml is not a file\n"), "{}", refusal());
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
    std::fs::write(root.path().join("ksail.json"), "").unwrap();
    let message = find(None, root.path()).unwrap_err().to_string().replace(root.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(message, @r#"
    there is no ksail.yaml in DIR or a directory above it
    'ksail cluster init' writes one here; '--file PATH' names one elsewhere; DIR/ksail.json is there, and would be found as ksail.yaml
    "#);
}

#[test]
fn the_other_way_to_end_a_yaml_files_name_is_found_after_the_usual_one_and_a_directory_stands_for_the_file_in_it() {
    let root = tempfile::tempdir().unwrap();
    let (usual, other) = (root.path().join("ksail.yaml"), root.path().join("ksail.yml"));
    std::fs::write(&other, "").unwrap();
    assert_eq!(find(None, root.path()).unwrap(), other);
    assert_eq!(find(Some(root.path()), Path::new("/")).unwrap(), other);
    std::fs::write(&usual, "").unwrap();
    assert_eq!(find(None, root.path()).unwrap(), usual);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(find(Some(empty.path()), Path::new("/")).unwrap(), empty.path().join("ksail.yaml"), "where it would be");
}
