//! The migrations/ folder as data: forward only, each applied once, in this order.
//!
//! Knows no connection; the store applies them.

/// Text of each migration. A catalog of version N has had the first N.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_create_catalog.sql"),
    include_str!("../../../migrations/0002_create_storages.sql"),
    include_str!("../../../migrations/0003_create_copies.sql"),
    include_str!("../../../migrations/0004_rename_upload_id.sql"),
];

/// The version of a catalog that has had every migration.
pub const NEWEST: i64 = MIGRATIONS.len() as i64;
