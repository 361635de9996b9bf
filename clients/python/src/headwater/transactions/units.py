"""Amounts as exact integers of cents."""

_EXACT_MAX = float(1 << 53)


def cents_of(amount: float) -> int | None:
    """The cents; None where the amount is not the double nearest to n/100 with |n| < 2^53."""
    scaled = amount * 100.0
    # Also false for NaN and the infinities.
    if not -_EXACT_MAX < scaled < _EXACT_MAX:
        return None
    # Where it is one at all it is within rounding of `scaled`: how a half is rounded decides nothing.
    cents = round(scaled)
    return cents if cents / 100.0 == amount and -_EXACT_MAX < cents < _EXACT_MAX else None


def all_cents_of(amounts: list[float]) -> list[int] | None:
    """As `cents_of`, of many at once, at least one; None where one of them is None there."""
    try:
        cents = list(map(round, [amount * 100.0 for amount in amounts]))
    except (ValueError, OverflowError):
        # NaN and the infinities.
        return None
    exact = min(cents) > -_EXACT_MAX and max(cents) < _EXACT_MAX
    return cents if exact and [one / 100.0 for one in cents] == amounts else None


def shown(cents: int) -> str:
    """As people write it: "-12.50"."""
    sign = "-" if cents < 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole}.{rest:02}"
