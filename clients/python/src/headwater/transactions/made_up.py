"""Made-up transactions, for trying things out."""

import random
import time
from collections.abc import Iterator

from headwater.event.v1.transaction_pb2 import Transaction

_CENTS_MIN, _CENTS_MAX = -50_000, 100_000
_NS = 1_000_000_000
# What newer contracts have (tests/conformance/evolution), where this code is generated from one of them.
_NEWER = {name: value for name, value in {"currency": "EUR"}.items() if name in Transaction.DESCRIPTOR.fields_by_name}


def made_up(count: int, customers: int, seed: int | None) -> Iterator[Transaction]:
    """`count` transactions over `customers` accounts: the same accounts, references and amounts for the same seed.

    Each of the first `customers` has another account, so that all occur. Ids and times are new every time.
    """
    choice = random.Random(seed)  # noqa: S311 - not a secret
    fresh = random.Random().getrandbits  # noqa: S311
    accounts = [f"ACC-{number:04}" for number in range(1, customers + 1)]
    order = choice.sample(accounts, len(accounts))
    number_below = choice.random
    span = _CENTS_MAX - _CENTS_MIN + 1
    for number in range(count):
        now_ns = time.time_ns()
        account = order[number] if number < customers else accounts[int(number_below() * customers)]
        transaction = Transaction(
            transaction_id=uuid7(now_ns, fresh(74)),
            account_number=account,
            transaction_reference=f"payment {int(number_below() * 1_000_000):06}",
            amount=(_CENTS_MIN + int(number_below() * span)) / 100,
        )
        for name, value in _NEWER.items():
            setattr(transaction, name, value)
        when = transaction.transaction_datetime
        when.seconds, when.nanos = divmod(now_ns, _NS)
        yield transaction


def uuid7(now_ns: int, random_bits: int) -> str:
    """A UUID of version 7 of a time and 74 random bits: ids that grow with time are cheapest to store."""
    bits = (now_ns // 1_000_000) << 80 | 0x7 << 76 | (random_bits >> 62) << 64 | 0x2 << 62 | random_bits & (1 << 62) - 1
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
