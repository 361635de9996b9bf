"""The contract's rules for a transaction, as the platform checks them (proto/headwater/event/v1/transaction.proto)."""

from collections.abc import Collection
from math import isfinite

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.units import all_cents_of, cents_of

FULL_NAME = Transaction.DESCRIPTOR.full_name
TRANSACTION_ID_CHARS_MAX = 128
ACCOUNT_NUMBER_CHARS_MAX = 64
REFERENCE_CHARS_MAX = 256
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
# The year 2000.
_ANCIENT_SECONDS = 946_684_800
_NANOS_MAX = 999_999_999


class RuleBrokenError(ValueError):
    """A transaction that the platform would not count."""

    def __init__(self, reason: str, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.reason = reason


def checked_cents(transaction: Transaction) -> int:
    """The amount in cents, of a transaction that keeps every rule."""
    when = transaction.transaction_datetime
    seconds = when.seconds
    # All at once first, as this is asked for each record: a field that is read costs. What is absent has 0 seconds.
    if (
        0 < len(transaction_id := transaction.transaction_id) <= TRANSACTION_ID_CHARS_MAX
        and 0 < len(account := transaction.account_number) <= ACCOUNT_NUMBER_CHARS_MAX
        and len(reference := transaction.transaction_reference) <= REFERENCE_CHARS_MAX
        and "\0" not in transaction_id
        and "\0" not in account
        and "\0" not in reference
        and _ANCIENT_SECONDS <= seconds <= _SECONDS_MAX
        and 0 <= when.nanos <= _NANOS_MAX
        and (cents := cents_of(transaction.amount)) is not None
    ):
        return cents
    raise _broken(transaction)


def all_cents(
    ids: list[str],
    accounts: Collection[str],
    references: list[str],
    seconds: list[int],
    nanos: list[int],
    amounts: list[float],
) -> list[int] | None:
    """As `checked_cents`, of many at once, at least one, each account's once; None where one breaks a rule."""
    if not (
        all(ids)
        and all(accounts)
        and max(map(len, ids)) <= TRANSACTION_ID_CHARS_MAX
        and max(map(len, accounts)) <= ACCOUNT_NUMBER_CHARS_MAX
        and max(map(len, references)) <= REFERENCE_CHARS_MAX
        and "\0" not in "".join(ids)
        and "\0" not in "".join(accounts)
        and "\0" not in "".join(references)
        and min(seconds) >= _ANCIENT_SECONDS
        and max(seconds) <= _SECONDS_MAX
        and min(nanos) >= 0
        and max(nanos) <= _NANOS_MAX
    ):
        return None
    return all_cents_of(amounts)


def _broken(transaction: Transaction) -> RuleBrokenError:
    if not 0 < len(transaction.transaction_id) <= TRANSACTION_ID_CHARS_MAX:
        return _length("transaction_id", transaction.transaction_id, TRANSACTION_ID_CHARS_MAX)
    if not 0 < len(transaction.account_number) <= ACCOUNT_NUMBER_CHARS_MAX:
        return _length("account_number", transaction.account_number, ACCOUNT_NUMBER_CHARS_MAX)
    if len(transaction.transaction_reference) > REFERENCE_CHARS_MAX:
        return _length("transaction_reference", transaction.transaction_reference, REFERENCE_CHARS_MAX)
    if not transaction.HasField("transaction_datetime"):
        return RuleBrokenError("INVALID_FIELD", "transaction_datetime", "is missing; say when the transaction was made")
    when = transaction.transaction_datetime
    if not (_SECONDS_MIN <= when.seconds <= _SECONDS_MAX and 0 <= when.nanos <= _NANOS_MAX):
        return RuleBrokenError("INVALID_FIELD", "transaction_datetime", "is no time of the years 1 to 9999")
    amount = transaction.amount
    if not isfinite(amount):
        return RuleBrokenError("INVALID_FIELD", "amount", f"{amount} is not a finite number")
    # What follows is asked by the platform only where the contract's own rules hold.
    if when.seconds < _ANCIENT_SECONDS:
        return RuleBrokenError("TIME_ANCIENT", "transaction_datetime", "is before the year 2000")
    for field in ("transaction_id", "account_number", "transaction_reference"):
        if "\0" in getattr(transaction, field):
            return RuleBrokenError("INVALID_FIELD", field, "holds the character NUL, which a table cannot")
    problem = f"{amount!r} has more than two decimals, or is too great to be exact"
    return RuleBrokenError("NOT_IN_SCALE", "amount", problem)


def _length(field: str, value: str, chars_max: int) -> RuleBrokenError:
    if not value:
        return RuleBrokenError("INVALID_FIELD", field, f"is missing; give 1 to {chars_max} characters")
    return RuleBrokenError("INVALID_FIELD", field, f"has {len(value)} characters, at most {chars_max} are allowed")
