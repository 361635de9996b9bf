-- A generation is built beside the one that is read, and then takes its place.
DROP INDEX generations_current;
ALTER TABLE generations
    ADD COLUMN state text,              -- building, current, replaced or cancelled
    ADD COLUMN request_id text,         -- of the call that asked for the build; NULL where a contract did
    ADD COLUMN ended_at timestamptz;    -- since when it is replaced or cancelled
UPDATE generations SET state = CASE WHEN current THEN 'current' ELSE 'replaced' END,
    ended_at = CASE WHEN current THEN NULL ELSE now() END;
ALTER TABLE generations ALTER COLUMN state SET NOT NULL, DROP COLUMN current;
CREATE UNIQUE INDEX generations_current ON generations (stream) WHERE state = 'current';
CREATE UNIQUE INDEX generations_building ON generations (stream) WHERE state = 'building';
CREATE UNIQUE INDEX generations_request ON generations (stream, request_id);

-- Events before this moment were stored once and are not any more: nothing can count them again.
ALTER TABLE contracts ADD COLUMN dropped_before timestamptz;
