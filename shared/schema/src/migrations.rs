//! The migrations/ folder as data: forward only, each applied once, in this order.
//!
//! Knows no connection; `catalog` applies them.

/// Name and text of each migration. A catalog of version N has had the first N.
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[(
    "0001_create_catalog",
    include_str!("../../../migrations/0001_create_catalog.sql"),
)];

/// The version of a catalog that has had every migration.
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;
