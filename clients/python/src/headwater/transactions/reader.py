"""Takes a record's value apart: the transaction, or the reason why it cannot be counted."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.frame import FrameError, parse_frame
from headwater.transactions.registry import Registry
from headwater.transactions.rules import FULL_NAME, RuleBrokenError

PREFIX_BYTES = 6
_PREFIXES_MAX = 1000


class UncountableError(ValueError):
    """A record that is not counted, with the platform's reason."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class FrameReader:
    """Finds the transaction within a frame. Schemas are asked for once each."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # Beginnings of frames whose schema's first message is the transaction: nearly all, and known by a look-up.
        self.prefixes: set[bytes] = set()

    def payload(self, value: bytes | None) -> bytes:
        """The transaction's bytes."""
        if value is None:
            raise UncountableError("BAD_FRAME", "the record has no value")
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
        if at == PREFIX_BYTES and len(self.prefixes) < _PREFIXES_MAX:
            self.prefixes.add(value[:at])
        return value[at:]


def why(problem: UncountableError | RuleBrokenError | DecodeError) -> tuple[str, str]:
    """The platform's reason, and the sentence for it."""
    if isinstance(problem, DecodeError):
        return "MALFORMED", f"is not a {FULL_NAME}: {problem}"
    return problem.reason, str(problem)


def newer_fields(payloads: Sequence[bytes]) -> int:
    """How many transactions have fields that this program does not know."""
    # Joined they are one message with the fields of all: mostly there is nothing to find, and this is said at once.
    if not UnknownFieldSet(Transaction.FromString(b"".join(payloads))):
        return 0
    return sum(1 for payload in payloads if UnknownFieldSet(Transaction.FromString(payload)))
