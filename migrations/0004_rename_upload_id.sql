-- What a store tells as the checksum of an object that came in parts. The column was of an upload that may
-- go on, which its journal tells: no row had a value.

ALTER TABLE backup_copies RENAME COLUMN upload_id TO parts_hash;
