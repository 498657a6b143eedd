-- The directories that hold archives, each with the id that its marker '.bk-storage' tells: where
-- the marker is absent or another's, the storage is not there, and its archives are not gone.

CREATE TABLE storages (
    path VARCHAR PRIMARY KEY,
    id   VARCHAR NOT NULL
);
