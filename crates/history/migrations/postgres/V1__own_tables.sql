-- The platform's own tables. The tables of the streams are made from their contracts.

-- How far each partition of a stream has come, and who may move it on. One row per partition, updated by every batch.
CREATE TABLE offsets (
    stream text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    start_offset bigint,            -- first offset of the first batch there ever was
    next_offset bigint,             -- NULL until there is a batch
    last_offset bigint,
    last_appended_ms bigint,
    last_checksum bigint,
    newest_us bigint,
    owner text NOT NULL,
    owner_pid integer,              -- the session that commits, known by all three
    owner_started timestamptz,
    owner_application text,
    PRIMARY KEY (stream, partition)
) WITH (fillfactor = 50);

-- What each transaction stored: live statistics are replayed from it.
CREATE TABLE batches (
    stream text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    epoch bigint NOT NULL,
    is_start boolean NOT NULL,
    last_appended_ms bigint NOT NULL,
    last_checksum bigint NOT NULL,
    min_time_us bigint,             -- NULL where no event was stored
    max_time_us bigint,
    stored integer NOT NULL,
    flagged integer NOT NULL,
    dead integer NOT NULL,
    duplicates integer NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, partition, first_offset)
);

-- Records that could not be events, whole.
CREATE TABLE dead_letters (
    stream text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    appended_ms bigint NOT NULL,
    reason text NOT NULL,
    field text NOT NULL,
    detail text NOT NULL,
    key bytea,
    value bytea,
    PRIMARY KEY (stream, partition, "offset")
);

-- Records whose events were stored already, and where.
CREATE TABLE duplicates (
    stream text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    of_partition integer NOT NULL,
    of_offset bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, partition, "offset")
);

-- Builds of a stream's live statistics.
CREATE TABLE generations (
    stream text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    shards integer NOT NULL,
    fingerprint text NOT NULL,
    current boolean NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, number)
);
CREATE UNIQUE INDEX generations_current ON generations (stream) WHERE current;

-- The contract that each stream's table was made for: id, key and time by field number, and every column it has.
CREATE TABLE contracts (
    stream text COLLATE "C" PRIMARY KEY,
    message text NOT NULL,
    table_name text COLLATE "C" NOT NULL UNIQUE,
    id_field bigint NOT NULL,
    key_field bigint NOT NULL,
    time_field bigint NOT NULL,
    columns jsonb NOT NULL
);
