"""Sums and next offsets in one SQLite file, shared by all members of a group on a machine.

A batch is one transaction: it adds the sums and moves `next` only where that is what this member expects: of two
members which believe that they own a partition one is turned away. Kafka's committed offsets are a hint.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headwater.transactions.failure import Failure

_BUSY_TIMEOUT_S = 5.0
_BUSY_AGAIN_S = 0.02
_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (state_id TEXT NOT NULL)",
    'CREATE TABLE IF NOT EXISTS sums ("group" TEXT NOT NULL, topic TEXT NOT NULL, account TEXT NOT NULL,'
    ' units TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY ("group", topic, account))',
    'CREATE TABLE IF NOT EXISTS offsets ("group" TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,'
    ' next INTEGER NOT NULL, PRIMARY KEY ("group", topic, partition))',
)
# Account to cents and count.
Sums = dict[str, tuple[int, int]]


class FencedError(Exception):
    """Another member has moved a partition's offset."""


class State:
    """The file, for one group and topic."""

    def __init__(self, path: str, group: str, topic: str) -> None:
        self._path, self._key = path, (group, topic)
        with self._failures():
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            self._write_ahead()
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                for table in _TABLES:
                    self._db.execute(table)
                row = self._db.execute("SELECT state_id FROM meta").fetchone()
                if row is None:
                    row = (str(uuid.uuid4()),)
                    self._db.execute("INSERT INTO meta (state_id) VALUES (?)", row)
            self.state_id = str(row[0])

    def next_offset(self, partition: int) -> int | None:
        """Where a partition goes on; None where it was never read."""
        query = 'SELECT next FROM offsets WHERE "group" = ? AND topic = ? AND partition = ?'
        with self._failures():
            row = self._db.execute(query, (*self._key, partition)).fetchone()
        return None if row is None else int(row[0])

    def begin(self, partition: int, first: int) -> None:
        """Remembers where a partition begins that was never read."""
        with self._failures(), self._transaction():
            self._db.execute("INSERT OR IGNORE INTO offsets VALUES (?, ?, ?, ?)", (*self._key, partition, first))

    def add(self, added: Mapping[str, tuple[int, int]], moves: Mapping[int, tuple[int, int]]) -> Sums:
        """Adds cents and counts by account, and moves partitions from one offset to another: all or nothing.

        Returns the accounts' sums from now on. Raises FencedError where a partition is not where it is expected.
        """
        after: Sums = {}
        with self._failures(), self._transaction():
            for partition, (expected, following) in moves.items():
                moved = self._db.execute(
                    'UPDATE offsets SET next = ? WHERE "group" = ? AND topic = ? AND partition = ? AND next = ?',
                    (following, *self._key, partition, expected),
                )
                if moved.rowcount != 1:
                    raise FencedError(f"partition {partition} is not at {expected}")
            for account, (cents, count) in added.items():
                row = self._db.execute(
                    'SELECT units, count FROM sums WHERE "group" = ? AND topic = ? AND account = ?',
                    (*self._key, account),
                ).fetchone()
                before = (int(row[0]), int(row[1])) if row else (0, 0)
                after[account] = (before[0] + cents, before[1] + count)
                self._db.execute(
                    "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?, ?)",
                    (*self._key, account, str(after[account][0]), after[account][1]),
                )
        return after

    def sums(self) -> Sums:
        """Every account's."""
        query = 'SELECT account, units, count FROM sums WHERE "group" = ? AND topic = ? ORDER BY account'
        with self._failures():
            rows = self._db.execute(query, self._key).fetchall()
        return {account: (int(units), int(count)) for account, units, count in rows}

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _write_ahead(self) -> None:
        """Two that open a new file at once turn each other away here, and SQLite does not wait by itself."""
        until = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_BUSY_AGAIN_S)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: two that read first and write then would turn each other away.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Failure(
                f"--state {self._path}: {error}: see that it is a state file, that it can be written,"
                f" and that nobody holds it for more than {_BUSY_TIMEOUT_S:g} s"
            ) from error
