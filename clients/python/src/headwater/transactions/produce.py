"""headwater-produce-transactions."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions import failure, records
from headwater.transactions.failure import Failure
from headwater.transactions.flags import common, not_negative, positive, rate, write_summary
from headwater.transactions.kafka import StopSignal
from headwater.transactions.made_up import made_up
from headwater.transactions.producer import TransactionProducer

_PROGRESS_EVERY_S = 1.0
_PAUSE_S_MIN = 0.001


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    flags = parser().parse_args(arguments)
    try:
        return _run(flags)
    except Failure as error:
        print(f"headwater-produce-transactions: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _run(flags: argparse.Namespace) -> int:
    stop = StopSignal()
    items: Iterator[Transaction | records.BadLineError]
    if flags.input:
        items = stop.cutting(records.read(flags.input))
    else:
        items = made_up(flags.count, flags.customers, flags.seed)
    # Opens the file: what is wrong with it as a whole is said before anybody is asked for anything.
    first = next(items, None)
    began = time.monotonic()
    producer = TransactionProducer(
        flags.broker, flags.schema_registry, flags.topic, timeout_s=flags.timeout, given=flags.setting
    )
    refused: Counter[str] = Counter()
    try:
        send_all(producer, chain([first] if first is not None else [], items), stop, flags, refused)
    finally:
        seconds = time.monotonic() - began
        summary = {
            "sent": producer.acknowledged(),
            "refused": refused.total(),
            "seconds": round(seconds, 3),
            "schema_id": producer.schema_id,
        }
        if flags.summary:
            write_summary(flags.summary, summary)
    if not flags.quiet:
        _say(f"{producer.sent} transactions sent to '{flags.topic}' in {seconds:.1f} s, {refused.total()} refused")
    return failure.REFUSED_INPUT if refused else failure.DONE


def send_all(
    producer: TransactionProducer,
    items: Iterable[Transaction | records.BadLineError],
    stop: StopSignal,
    flags: argparse.Namespace,
    refused: Counter[str],
) -> None:
    """Sends until Ctrl-C or the end, and waits until all are acknowledged. Counts the bad lines as it goes."""
    began = time.monotonic()
    progress_at = began + _PROGRESS_EVERY_S
    send, rate, progress = producer.send, flags.rate, not flags.quiet
    # Where records may come seldom.
    slow = rate or flags.input
    for item in items:
        if stop.stopped:
            break
        if isinstance(item, records.BadLineError):
            refused["lines"] += 1
            _say(str(item))
            continue
        send(item)
        if slow:
            producer.see()
        if rate:
            _keep_pace(producer.sent, rate, began, stop)
        if progress and (slow or producer.sent % 256 == 0) and time.monotonic() >= progress_at:
            now = time.monotonic()
            progress_at = max(progress_at + _PROGRESS_EVERY_S, now)
            per_s = producer.sent / (now - began)
            _say(f"{producer.sent} sent, {producer.acknowledged()} acknowledged, {per_s:.0f} a second")
    producer.flush()


def _keep_pace(sent: int, rate: float, began: float, stop: StopSignal) -> None:
    ahead_s = sent / rate - (time.monotonic() - began)
    if ahead_s > _PAUSE_S_MIN:
        stop.wait(ahead_s)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201


def parser() -> argparse.ArgumentParser:
    """The program's flags."""
    made = common("headwater-produce-transactions", "Sends transactions to a topic.")
    add = made.add_argument
    add("-i", "--input", metavar="FILE", help="CSV (*.csv) or NDJSON; - is stdin. Without it they are made up")
    add("--count", type=not_negative, default=1000, help="how many are made up [1000]")
    add("--customers", type=positive, default=20, help="over how many accounts [20]")
    add("--rate", type=rate, default=0.0, help="records a second at most; 0 is as fast as possible [0]")
    add("--seed", type=int, help="the same one makes the same accounts, references and amounts")
    add("--quiet", action="store_true", help="no progress")
    return made


if __name__ == "__main__":
    sys.exit(main())
