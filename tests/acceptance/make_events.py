#!/usr/bin/env python3
"""Writes a file of page events and one of transactions as a hostile producer would: bots, repeated ids, identical lines
without an id, events out of order, and lines that must be refused. The same seed and --now write the same files.

Usage: make_events.py --events FILE --transactions FILE [--count 100000] [--users 9000] [--seed 7] [--now SECONDS]
"""

import argparse
import datetime
import json
import random
import time
import uuid


def rfc3339(ms):
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def new_id(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def page_event(rng, args, now_ms):
    user = rng.randrange(args.users)
    # Half of the events lie in the last ten minutes, so that short windows have something to show.
    back_ms = rng.randrange(600_000) if rng.random() < 0.5 else rng.randrange(7_200_000)
    return {
        "event_id": new_id(rng),
        "timestamp": rfc3339(now_ms - back_ms),
        "user_id": f"usr_{user}",
        "event_type": rng.choices(["page_view", "click", "scroll"], [80, 15, 5])[0],
        "page_url": f"/products/{min(int(rng.paretovariate(0.7)), 3000)}",
        "session_id": f"sess_{user}_{rng.randrange(6)}",
    }


def refused(rng, event):
    """A line that the contract refuses, each for another reason."""
    kind = rng.randrange(8)
    if kind == 0:
        return "{not json"
    if kind == 1:
        del event["user_id"]
    elif kind == 2:
        event["event_id"] = "not-a-uuid"
    elif kind == 3:
        event["timestamp"] = "1999-12-31T23:59:59Z"
    elif kind == 4:
        event["page_url"] = "/" + "x" * 2048
    elif kind == 5:
        event["surprise"] = 1
    elif kind == 6:
        event["timestamp"] = "yesterday"
    else:
        event["session_id"] = ""
    return json.dumps(event)


def write_events(args, rng, now_ms):
    lines = []
    while len(lines) < args.count:
        roll = rng.random()
        event = page_event(rng, args, now_ms)
        if roll < 0.01:
            lines.append(refused(rng, event))
        elif roll < 0.02 and lines:
            # The same event again: same id, same time.
            lines.append(rng.choice(lines))
        elif roll < 0.03:
            # Identical lines without an id: each of them counts.
            del event["event_id"]
            lines.extend([json.dumps(event)] * rng.randrange(2, 5))
        elif roll < 0.033:
            # A bot: far more than ten pages in one second.
            second_ms = now_ms - rng.randrange(3_600_000)
            for _ in range(rng.randrange(15, 40)):
                view = page_event(rng, args, now_ms)
                view.update(
                    timestamp=rfc3339(second_ms // 1000 * 1000 + rng.randrange(1000)),
                    user_id=event["user_id"],
                    session_id=event["session_id"],
                    event_type="page_view",
                )
                lines.append(json.dumps(view))
        elif roll < 0.035:
            # Accepted, and then a dead letter: an hour ahead of its arrival.
            event["timestamp"] = rfc3339(now_ms + 3_600_000 + rng.randrange(600_000))
            lines.append(json.dumps(event))
        else:
            lines.append(json.dumps(event))
    with open(args.events, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines[: args.count])


def write_transactions(args, rng, now_ms):
    with open(args.transactions, "w", encoding="utf-8") as file:
        for number in range(args.count // 10):
            cents = rng.randrange(-500_000, 1_000_000)
            amount = cents / 100 if rng.random() > 0.005 else 0.001
            record = {
                "transaction_id": f"t{args.seed}-{number}-{rng.getrandbits(32):08x}",
                "account_number": f"acc_{rng.randrange(20)}",
                "transaction_reference": f"invoice {number}",
                "transaction_datetime": rfc3339(now_ms - rng.randrange(7_200_000)),
                "amount": amount,
            }
            file.write(json.dumps(record) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", required=True)
    parser.add_argument("--transactions", required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--now", type=float, default=None)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    now_ms = int((args.now if args.now is not None else time.time()) * 1000)
    write_events(args, rng, now_ms)
    write_transactions(args, rng, now_ms)


if __name__ == "__main__":
    main()
