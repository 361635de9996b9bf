-- What is added to a record's offset in the log for its offset in the history. It grows where a topic was made anew, so
-- that offsets of the history go on where they ended and never mean two records.
ALTER TABLE offsets ADD COLUMN log_shift INTEGER NOT NULL DEFAULT 0;
