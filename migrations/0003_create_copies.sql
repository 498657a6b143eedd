-- What is known of copies elsewhere, one row for a backup and a location, also once the record is
-- gone. No key: where the commit of a row that is replaced in an index fails, DuckDB 1.5 ends the
-- process; who writes a row removes the one before in the same transaction. `record` is the text of what
-- lies beside the copy, from which lists of what a location holds are made without asking it.

CREATE TABLE backup_copies (
    backup_id     BIGINT NOT NULL,
    backup_name   VARCHAR NOT NULL,
    location      VARCHAR NOT NULL,
    object_key    VARCHAR NOT NULL,
    version_id    VARCHAR,
    size          BIGINT,
    hash          VARCHAR,
    recipients    VARCHAR NOT NULL,
    storage_class VARCHAR,
    locked_until  TIMESTAMP,
    status        VARCHAR NOT NULL,
    upload_id     VARCHAR,
    copied_at     TIMESTAMP,
    checked_at    TIMESTAMP,
    record        VARCHAR
);
