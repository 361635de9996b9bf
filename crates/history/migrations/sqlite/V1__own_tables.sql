-- The platform's own tables. The tables of the streams are made from their contracts.

-- How far each partition of a stream has come, and who may move it on.
CREATE TABLE offsets (
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    start_offset INTEGER,           -- first offset of the first batch there ever was
    next_offset INTEGER,            -- NULL until there is a batch
    last_offset INTEGER,
    last_appended_ms INTEGER,
    last_checksum INTEGER,
    newest_us INTEGER,
    owner TEXT NOT NULL,
    PRIMARY KEY (stream, partition)
) WITHOUT ROWID;

-- What each transaction stored: live statistics are replayed from it.
CREATE TABLE batches (
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    is_start INTEGER NOT NULL,
    last_appended_ms INTEGER NOT NULL,
    last_checksum INTEGER NOT NULL,
    min_time_us INTEGER,            -- NULL where no event was stored
    max_time_us INTEGER,
    stored INTEGER NOT NULL,
    flagged INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, partition, first_offset)
) WITHOUT ROWID;

-- Records that could not be events, whole.
CREATE TABLE dead_letters (
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    appended_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    field TEXT NOT NULL,
    detail TEXT NOT NULL,
    key BLOB,
    value BLOB,
    UNIQUE (stream, partition, "offset")
);

-- Records whose events were stored already, and where.
CREATE TABLE duplicates (
    stream TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    id TEXT NOT NULL,
    time INTEGER NOT NULL,
    of_partition INTEGER NOT NULL,
    of_offset INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, partition, "offset")
) WITHOUT ROWID;

-- Builds of a stream's live statistics.
CREATE TABLE generations (
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,
    shards INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    current INTEGER NOT NULL,
    PRIMARY KEY (stream, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX generations_current ON generations (stream) WHERE current;

-- The contract that each stream's table was made for: id, key and time by field number, and every column it has.
CREATE TABLE contracts (
    stream TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    table_name TEXT NOT NULL UNIQUE,
    id_field INTEGER NOT NULL,
    key_field INTEGER NOT NULL,
    time_field INTEGER NOT NULL,
    columns TEXT NOT NULL
) WITHOUT ROWID;
