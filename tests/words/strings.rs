//! The texts themselves, and the style they have in common.

use std::fmt::Write as _;

use crate::literals::{Said, all};

#[test]
fn every_text_stands_in_one_snapshot() {
    let mut text = String::new();
    let mut file = String::new();
    for said in all() {
        if said.file != file {
            file.clone_from(&said.file);
            let _ = write!(text, "\n{file}\n");
        }
        let _ = writeln!(text, "    {}", said.text);
    }
    insta::with_settings!({
        snapshot_path => ".",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("strings", text.trim_start());
    });
}

/// uv's guide, and ours: what happened comes first and needs no ceremony.
#[test]
fn no_text_has_what_the_style_has_not() {
    let avoided = [
        "failed to",
        "Failed to",
        "unable to",
        "Unable to",
        "could not be able",
        "please",
        "Please",
        "successfully",
        "sorry",
        "Oops",
        "invalid ",
        "Invalid ",
        "in order to",
        "!\n",
        "e.g.",
        "i.e.",
        "etc.",
        "don't",
        "can't",
        "doesn't",
        "won't",
        "isn't",
    ];
    let wrong: Vec<(Said, &str)> = all()
        .into_iter()
        .flat_map(|said| {
            avoided
                .iter()
                .filter(|word| said.text.contains(**word))
                .map(|word| (said.clone(), *word))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
