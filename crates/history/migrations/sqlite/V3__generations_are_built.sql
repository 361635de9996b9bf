-- A generation is built beside the one that is read, and then takes its place.
DROP INDEX generations_current;
ALTER TABLE generations RENAME TO generations_before;
CREATE TABLE generations (
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,
    shards INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,            -- building, current, replaced or cancelled
    request_id TEXT,                -- of the call that asked for the build; NULL where a contract did
    made_ms INTEGER NOT NULL,
    ended_ms INTEGER,               -- since when it is replaced or cancelled
    PRIMARY KEY (stream, number)
) WITHOUT ROWID;
INSERT INTO generations (stream, number, shards, fingerprint, state, made_ms, ended_ms)
    SELECT stream, number, shards, fingerprint, iif(current, 'current', 'replaced'), 0, iif(current, NULL, 0)
    FROM generations_before;
DROP TABLE generations_before;
CREATE UNIQUE INDEX generations_current ON generations (stream) WHERE state = 'current';
CREATE UNIQUE INDEX generations_building ON generations (stream) WHERE state = 'building';
CREATE UNIQUE INDEX generations_request ON generations (stream, request_id);

-- Events before this moment were stored once and are not any more: nothing can count them again.
ALTER TABLE contracts ADD COLUMN dropped_before_us INTEGER;
