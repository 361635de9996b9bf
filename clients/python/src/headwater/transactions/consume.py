"""headwater-consume-transactions."""

import argparse
import sys
import time

from headwater.transactions import failure
from headwater.transactions.consumer import BATCH_RECORDS_MAX, TransactionConsumer
from headwater.transactions.failure import Failure
from headwater.transactions.flags import common, positive, seconds, write_summary
from headwater.transactions.kafka import StopSignal
from headwater.transactions.state import State
from headwater.transactions.tally import Batch, Tally
from headwater.transactions.units import shown


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    flags = parser().parse_args(arguments)
    try:
        return _run(flags)
    except Failure as error:
        print(f"headwater-consume-transactions: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _run(flags: argparse.Namespace) -> int:
    stop = StopSignal()
    began = time.monotonic()
    state = State(flags.state, flags.group, flags.topic) if flags.state else None
    consumer = TransactionConsumer(
        flags.broker,
        flags.schema_registry,
        flags.topic,
        flags.group,
        state=state,
        begin=flags.begin,
        timeout_s=flags.timeout,
        given=flags.setting,
        lines=not flags.quiet,
    )
    try:
        count_all(consumer, stop, flags)
    finally:
        # Also where something is away: what was counted is shown.
        consumer.close()
        sums = state.sums() if state else consumer.tally.sums
        _print_table(sums)
        _print_summary(consumer.tally, sums, time.monotonic() - began, flags.summary)
        if state:
            state.close()
    consumer.raise_failure()
    return failure.DONE


def count_all(consumer: TransactionConsumer, stop: StopSignal, flags: argparse.Namespace) -> None:
    """Counts until Ctrl-C, or as the flags say."""
    began = time.monotonic()
    last_record_at: float | None = None
    while not stop.stopped:
        left = BATCH_RECORDS_MAX if flags.count is None else flags.count - consumer.tally.records
        if left <= 0:
            return
        batch = consumer.step(left)
        now = time.monotonic()
        if batch is not None:
            last_record_at = now
            for _, text in batch.skipped:
                print(text, file=sys.stderr)  # noqa: T201
            if not flags.quiet:
                _print_lines(batch, consumer.tally)
        elif flags.idle_exit is not None:
            since = last_record_at or consumer.assigned_at()
            # A group that gives out nothing within the timeout is idle too.
            idle_s = now - since if since is not None else now - began - flags.timeout
            if idle_s >= flags.idle_exit:
                return


def _print_lines(batch: Batch, tally: Tally) -> None:
    """One line for each record: the account, and its sum so far."""
    base = {account: tally.sums[account][0] - cents for account, (cents, _) in batch.added.items()}
    sys.stdout.write("".join([f"({account}, {shown(base[account] + cents)})\n" for account, cents in batch.lines]))
    sys.stdout.flush()


def _print_table(sums: dict[str, tuple[int, int]]) -> None:
    rows = [(account, str(count), shown(cents)) for account, (cents, count) in sorted(sums.items())]
    total = (
        "total",
        str(sum(count for _, count in sums.values())),
        shown(sum(cents for cents, _ in sums.values())),
    )
    table = [("account", "count", "sum"), *rows, total]
    wide = [max(len(row[column]) for row in table) for column in range(3)]
    for account, count, cents in table:
        print(f"{account:<{wide[0]}}  {count:>{wide[1]}}  {cents:>{wide[2]}}")  # noqa: T201
    sys.stdout.flush()


def _print_summary(tally: Tally, sums: dict[str, tuple[int, int]], seconds_taken: float, path: str | None) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.skipped.items())) or "none"
    print(  # noqa: T201
        f"{tally.counted} of {tally.records} records counted in {seconds_taken:.1f} s; skipped: {reasons};"
        f" {tally.newer_fields} with newer fields",
        file=sys.stderr,
    )
    if path is None:
        return
    summary = {
        "records": tally.records,
        "counted": tally.counted,
        "skipped": dict(tally.skipped),
        "newer_fields": tally.newer_fields,
        "sums": {account: shown(cents) for account, (cents, _) in sorted(sums.items())},
        "seconds": round(seconds_taken, 3),
    }
    write_summary(path, summary)


def parser() -> argparse.ArgumentParser:
    """The program's flags."""
    made = common("headwater-consume-transactions", "Sums a topic's transactions by account.")
    add = made.add_argument
    add("-g", "--group", required=True, help="the consumer group; its members share the partitions")
    add("--state", metavar="FILE", help="SQLite file with sums and offsets: nothing is lost or counted twice")
    add("--from", dest="begin", choices=("earliest", "latest"), default="earliest", help="for a group without offsets")
    add("--idle-exit", type=seconds, metavar="S", help="ends after so long without a record")
    add("--count", type=positive, metavar="N", help="ends after so many records")
    add("--quiet", action="store_true", help="no line for each record")
    return made


if __name__ == "__main__":
    sys.exit(main())
