"""Makes ../vectors/amounts.json with Python's own decimal arithmetic: no double is computed with.

A double counts as n cents where it is the double nearest to n/100 and |n| < 2^53; any other is refused.
Run: python amounts.py
"""

import json
import math
import random
import struct
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

OUT = Path(__file__).parent.parent / "vectors" / "amounts.json"
UNITS_MAX = 2**53


def cents(x: float) -> int | None:
    if not math.isfinite(x):
        return None
    near = round(Fraction(x) * 100)
    # Fractions divide exactly, and float() of one rounds once: to the nearest double.
    hits = [n for n in (near - 1, near, near + 1) if abs(n) < UNITS_MAX and float(Fraction(n, 100)) == x]
    return min(hits, key=lambda n: abs(Fraction(n, 100) - Fraction(x))) if hits else None


def main() -> None:
    doubles = [0.0, -0.0, 0.01, -0.01, 0.1, 0.29, -0.29, 1.1, 4.35, 1.005, 0.005, 0.001, 0.1 + 0.2, 12.5, -12.5]
    doubles += [1000.0, -500.0, 999.99, 1e15, 1e16, 1e300, -1e300, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]
    doubles += [math.nan, math.inf, -math.inf, 123456789.01, 45035996273704.96, 70368744177663.99]
    largest = float(Decimal(UNITS_MAX - 1) / 100)
    doubles += [largest, -largest, math.nextafter(largest, math.inf), float(Decimal(UNITS_MAX) / 100)]
    for near in (0.01, 0.29, 4.35, 999.99, 1234567.89):
        doubles += [math.nextafter(near, math.inf), math.nextafter(near, -math.inf)]
    chance = random.Random(6)
    doubles += [chance.randrange(-50_000, 100_001) / 100 for _ in range(40)]
    doubles += [float(Decimal(chance.randrange(-UNITS_MAX + 1, UNITS_MAX)) / 100) for _ in range(10)]
    doubles += [chance.uniform(-1000, 1000) for _ in range(10)]
    rows = [{"ieee_hex": struct.pack(">d", x).hex(), "text": repr(x), "cents": cents(x)} for x in doubles]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    OUT.write_text('{\n "scale": 2,\n "amounts": [\n' + lines + "\n ]\n}\n", encoding="utf-8")


main()
