-- The catalog as bk-create makes it. No CREATE INDEX: an explicit index has corrupted
-- DuckDB 1.5 catalogs at a kill followed by an update.

CREATE SEQUENCE backup_id;
CREATE SEQUENCE event_id;

CREATE TABLE backup_records (
    id               BIGINT PRIMARY KEY DEFAULT nextval('backup_id'),
    backup_name      VARCHAR NOT NULL UNIQUE,
    backup_type      VARCHAR NOT NULL,
    status           VARCHAR NOT NULL,
    source_version   VARCHAR,
    backup_path      VARCHAR NOT NULL,
    backup_size      BIGINT,
    file_count       BIGINT,
    compression_type VARCHAR NOT NULL,
    backup_hash      VARCHAR,
    description      VARCHAR,
    backup_metadata  VARCHAR NOT NULL,
    protected        BOOLEAN NOT NULL,
    created_at       TIMESTAMP NOT NULL,
    expires_at       TIMESTAMP
);

CREATE TABLE backup_events (
    id          BIGINT PRIMARY KEY DEFAULT nextval('event_id'),
    happened_at TIMESTAMP NOT NULL,
    program     VARCHAR NOT NULL,
    backup_id   BIGINT,
    backup_name VARCHAR,
    event       VARCHAR NOT NULL,
    outcome     VARCHAR NOT NULL,
    details     VARCHAR NOT NULL
);

CREATE TABLE settings (
    name  VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
);
