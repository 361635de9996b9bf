-- Records are looked up by their event's id: what became of them is told to whoever published them.
ALTER TABLE dead_letters ADD COLUMN id text COLLATE "C";  -- NULL where it could not be read, or came before this
CREATE INDEX "dead_letters$by_id" ON dead_letters (stream, id, partition, "offset") WHERE id IS NOT NULL;
CREATE INDEX "duplicates$by_id" ON duplicates (stream, id, partition, "offset");
