"""Takes a record's value apart: the transaction, or the reason why it cannot be counted."""

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.frame import FrameError, parse_frame
from headwater.transactions.registry import Registry
from headwater.transactions.rules import FULL_NAME, RuleBrokenError, checked_cents

_FIRST_PREFIX_BYTES = 6
_PREFIXES_MAX = 1000


class UncountableError(ValueError):
    """A record that is not counted, with the platform's reason."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class TransactionReader:
    """Reads framed transactions. Schemas are asked for once each."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # Beginnings of frames whose schema's first message is the transaction: nearly all, and known by a look-up.
        self._prefixes: set[bytes] = set()

    def read(self, value: bytes | None) -> tuple[Transaction, int, bool]:
        """The transaction, its cents, and whether it has fields that this program does not know."""
        if value is None:
            raise UncountableError("BAD_FRAME", "the record has no value")
        is_known = value[:_FIRST_PREFIX_BYTES] in self._prefixes
        payload = value[_FIRST_PREFIX_BYTES:] if is_known else self._payload(value)
        try:
            transaction = Transaction.FromString(payload)
        except DecodeError as error:
            raise UncountableError("MALFORMED", f"is not a {FULL_NAME}: {error}") from error
        try:
            cents = checked_cents(transaction)
        except RuleBrokenError as error:
            raise UncountableError(error.reason, str(error)) from error
        return transaction, cents, len(UnknownFieldSet(transaction)) > 0

    def _payload(self, value: bytes) -> bytes:
        try:
            schema_id, indexes, at = parse_frame(value)
        except FrameError as error:
            raise UncountableError("BAD_FRAME", str(error)) from error
        schema = self._registry.by_id(schema_id)
        if schema is None:
            raise UncountableError("UNKNOWN_SCHEMA", f"the registry has no schema {schema_id}")
        name = schema.messages.get(indexes)
        if name != FULL_NAME:
            found = name or "no Protobuf message"
            raise UncountableError(
                "WRONG_SCHEMA", f"schema {schema_id} has {found} at {list(indexes)}, not {FULL_NAME}"
            )
        if at == _FIRST_PREFIX_BYTES and len(self._prefixes) < _PREFIXES_MAX:
            self._prefixes.add(value[:at])
        return value[at:]
