//! One suite that every [`ksail::engine::Engine`] passes, so that the engine in memory cannot drift from Docker.
//!
//! It runs once in memory and once on the Docker engine at its usual address; without one it fails.
//! `tests/images/build` makes the images it needs.

#![allow(clippy::unwrap_used, clippy::expect_used)] // The whole crate is tests; clippy sees only the functions.

mod bench;
mod on_docker;
mod on_memory;
mod secrets;
mod suite;

/// Runs every named test of the suite on both engines.
macro_rules! on_both_engines {
    ($($part:ident: $($test:ident)+;)+) => {
        mod memory {
            $(mod $part {
                $(#[tokio::test]
                async fn $test() {
                    crate::suite::$part::$test(crate::on_memory::OnMemory::new()).await;
                })+
            })+
        }
        mod docker {
            $(mod $part {
                $(#[tokio::test]
                async fn $test() {
                    crate::suite::$part::$test(crate::on_docker::OnDocker::new().await).await;
                })+
            })+
        }
    };
}

on_both_engines! {
    containers:
        the_engine_says_who_it_is
        a_container_is_created_as_asked
        lists_are_filtered_by_label
        a_missing_image_or_container_is_not_found
        a_name_is_given_to_one_container_only
        starting_and_stopping_twice_is_fine
        what_was_bound_is_free_after_a_stop
        a_restart_also_starts_what_was_stopped
        a_paused_container_is_not_started_but_stopped_and_restarted
        a_killed_container_has_exited_with_137
        a_container_that_crashes_has_exited
        what_a_container_said_is_in_its_log_line_by_line
        traffic_is_counted_of_what_runs
        a_container_that_keeps_crashing_is_restarting_until_it_is_stopped
        renaming_moves_the_name
        the_restart_policy_can_be_changed
        removing_takes_a_running_container_and_leaves_its_volume;
    ports:
        a_port_of_another_container_is_in_use_until_that_stops
        a_port_of_another_process_is_in_use
        two_ephemeral_ports_differ;
    networks:
        a_container_connected_before_its_start_has_the_alias_afterwards
        connecting_a_running_container_twice_is_a_conflict
        connecting_a_stopped_container_again_keeps_its_first_aliases
        disconnecting_what_is_not_connected_is_not_found
        an_unknown_network_shows_when_the_container_runs
        a_network_with_a_running_container_is_not_removed
        a_container_whose_network_is_gone_starts_after_a_forced_disconnect
        a_stale_endpoint_is_replaced_by_connecting_to_a_new_network_of_that_name
        of_two_networks_with_one_name_the_id_decides
        a_list_tells_one_attachment_from_another
        a_container_that_does_not_run_is_listed_on_its_networks_without_an_attachment;
    volumes:
        a_volume_keeps_the_labels_it_was_created_with
        a_container_brings_its_volumes_along
        a_volume_made_with_its_container_is_not_older
        an_unknown_volume_is_not_found;
    files:
        what_was_put_is_read_back
        a_directory_is_read_with_what_is_below_it
        a_file_survives_a_restart_but_not_a_recreate
        a_missing_path_is_not_found
        an_empty_archive_is_fine_and_a_torn_one_is_refused
        what_is_at_a_path_is_told_without_reading_it
        a_file_that_is_replaced_has_the_time_its_archive_gives_it
        a_file_that_a_program_edits_was_modified_since
        a_directory_changes_when_an_entry_comes_or_goes_or_is_replaced;
    exec:
        a_program_answers_its_output_its_complaints_and_its_exit_code
        the_input_of_a_program_reaches_it_and_ends
        input_nobody_reads_is_fine
        a_missing_program_is_126_or_127
        a_container_that_does_not_run_runs_no_program
        a_program_that_takes_too_long_is_a_timeout
        a_file_is_removed
        a_directory_is_removed_only_when_it_is_empty;
    images:
        a_container_takes_over_what_its_image_says
        an_image_that_cannot_be_pulled_says_why;
    events:
        a_container_tells_its_life_in_order
        networks_and_volumes_tell_theirs
        a_failed_start_is_no_start
        the_end_of_a_program_is_told_unless_it_is_ones_own
        a_file_put_into_a_container_is_told;
}
