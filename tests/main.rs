//! The one test program: runs the built programs from outside; links no product code.

mod support;

/// What each program does, and how they join.
mod program {
    mod acls;
    mod adopt;
    mod archive;
    mod auto;
    mod auto_clock;
    mod auto_crowd;
    mod auto_hooks;
    mod auto_interrupted;
    mod auto_mistakes;
    mod auto_notices;
    mod auto_notify;
    mod auto_rounds;
    mod auto_systemd;
    mod auto_terminal;
    mod auto_wait;
    mod catalog;
    mod chains;
    mod clocks;
    mod closed;
    mod completions;
    mod copies;
    mod df;
    mod df_alerts;
    mod df_copies;
    mod df_jobs;
    mod diff;
    mod dry_runs;
    mod dumps;
    mod excludes;
    mod find;
    mod hosts;
    mod log;
    mod log_follow;
    mod log_jobs;
    mod losses;
    mod migrations;
    mod mv;
    mod odd_lines;
    mod parent;
    mod parent_edges;
    mod pick;
    mod pick_ends;
    mod pick_inside;
    mod pipelines;
    mod prune;
    mod prune_restic;
    mod pull;
    mod pull_adopt;
    mod pull_encrypted;
    mod pull_list;
    mod pull_paths;
    mod pull_s3;
    mod push;
    mod push_clouds;
    mod push_copies;
    mod push_directory;
    mod push_encrypted;
    mod push_large;
    mod push_locations;
    mod push_poor;
    mod push_rclone;
    mod push_s3;
    mod push_sftp;
    mod relink;
    mod restore;
    mod restore_places;
    mod rm;
    mod seek;
    mod selection;
    mod set;
    mod sharing;
    mod shrinking;
    mod sources;
    mod storages;
    mod streams;
    mod terminal;
    mod unread;
    mod unreadable;
    mod verify;
    mod zones;
    mod zstd;
}

/// Kills, failing calls, full disks, signals and crowds.
mod crash {
    mod adopt_crash;
    mod adopt_faults;
    mod adopt_signals;
    mod auto_faults;
    mod copies_crash;
    mod creation;
    mod faults;
    mod later_sessions;
    mod life_crash;
    mod life_crowd;
    mod life_faults;
    mod manifest;
    mod mv_alias;
    mod mv_faults;
    mod places;
    mod prune_faults;
    mod pull_crash;
    mod push_crash;
    mod push_server;
    mod recovery;
    mod restore_faults;
    mod rm_faults;
    mod set_faults;
    mod soak;
    mod verify_races;
}

/// What others made, by mistake or by intent.
mod hostile {
    mod bombs;
    mod damage;
    mod foreign;
    mod foreign_shipped;
    mod foreign_whole;
    mod foreign_zstd;
    mod frames;
    mod outside;
    mod parents;
    mod races;
    mod seek_hostile;
}

/// Many backups, much memory.
mod scale {
    mod fleet_scale;
    mod manifest_scale;
    mod rm_scale;
}

/// The source tree, the documents and the installed set.
mod docs {
    mod install;
    mod man;
    mod readme;
    mod second_place;
    mod tidy;
    mod transcripts;
}
