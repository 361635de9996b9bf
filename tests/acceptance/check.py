#!/usr/bin/env python3
"""Counts a published file by itself, and compares every figure of every statistic with what the platform answers.

It shares no code with the platform: it reads the lines, applies the contract's rules as README and the contracts state
them, and asks by grpcurl. Exit code 0 where everything agrees, 1 where anything differs.

Usage: check.py --events FILE --transactions FILE [--address 127.0.0.1:50051] [--grpcurl PATH] [--at-least N]
"""

import argparse
import calendar
import collections
import json
import re
import subprocess
import sys
import time

WINDOWS = {"1m": 60, "5m": 300, "1h": 3600, "24h": 86400}
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")
PAGE_FIELDS = {"event_id", "timestamp", "user_id", "event_type", "page_url", "session_id"}
TRANSACTION_FIELDS = {"transaction_id", "account_number", "transaction_reference", "transaction_datetime", "amount"}
AHEAD_S = 300
YEAR_2000 = 946_684_800


def micros(text):
    """Microseconds since the epoch of an RFC 3339 time in UTC; None where it is not one."""
    found = TIME.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return None
    seconds = calendar.timegm(tuple(int(part) for part in found.groups()[:6]))
    return seconds * 1_000_000 + int((found.group(7) or "0").ljust(9, "0")[:6])


def text_of(record, field, longest):
    value = record.get(field)
    return isinstance(value, str) and 1 <= len(value) <= longest


def page_event(line):
    """The event of a line; None where the contract refuses it."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or set(record) - PAGE_FIELDS:
        return None
    if "event_id" in record and not UUID.fullmatch(record["event_id"]):
        return None
    at = micros(record.get("timestamp"))
    if at is None or at < YEAR_2000 * 1_000_000:
        return None
    lengths = {"user_id": 128, "event_type": 64, "page_url": 2048, "session_id": 128}
    if not all(text_of(record, field, longest) for field, longest in lengths.items()):
        return None
    record["at"] = at
    return record


def read_page_events(path, published_at):
    """The events that count, in order: first of an identity, not ahead, not after ten views of a user in a second."""
    seen, views, events, flagged = set(), collections.Counter(), [], 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = page_event(line.strip())
            if record is None or record["at"] > (published_at + AHEAD_S) * 1_000_000:
                continue
            if "event_id" in record:
                identity = (record["event_id"], record["at"])
                if identity in seen:
                    continue
                seen.add(identity)
            if record["event_type"] == "page_view":
                second = (record["user_id"], record["at"] // 1_000_000)
                views[second] += 1
                if views[second] > 10:
                    flagged += 1
                    continue
            events.append(record)
    return events, flagged


def read_transactions(path):
    """(account, cents, time) of each transaction that counts."""
    seen, found = set(), []
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if set(record) - TRANSACTION_FIELDS:
                continue
            at = micros(record["transaction_datetime"])
            cents = round(record["amount"] * 100)
            identity = (record["transaction_id"], at)
            if cents / 100 != record["amount"] or identity in seen:
                continue
            seen.add(identity)
            found.append((record["account_number"], cents, at))
    return found


class Platform:
    """Asks for figures."""

    def __init__(self, args):
        self.args = args

    def figures(self, stream, stat, window_s):
        query = {"stream": stream, "stat": stat, "limit": 10000}
        if window_s is not None:
            query["window"] = f"{window_s}s"
        command = [
            self.args.grpcurl, "-plaintext", "-max-time", "30", "-max-msg-sz", "67108864", "-emit-defaults",
            "-d", json.dumps({"queries": [query]}), self.args.address, "headwater.stats.v1.StatsService/GetStats",
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            sys.exit(f"{stream} {stat}: {answer.stderr.strip()}")
        result = json.loads(answer.stdout)["results"][0]
        if not result["complete"]:
            sys.exit(f"{stream} {stat}: the platform says that its figures are incomplete")
        if result.get("nextPageToken"):
            sys.exit(f"{stream} {stat}: more than 10000 keys; make a file with fewer")
        values = {value.get("key", ""): int(value["value"]) for value in result["values"]}
        return values, micros(result["asOf"])


def distinct(events, field, by, since):
    members = collections.defaultdict(set)
    for event in events:
        if event["at"] >= since:
            members[event[by] if by else ""].add(event[field])
    return {key: len(found) for key, found in members.items()}


def minute_start(as_of, window_s):
    return (as_of // 60_000_000 - (window_s + 59) // 60) * 60_000_000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", required=True)
    parser.add_argument("--transactions", required=True)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--grpcurl", default="grpcurl")
    parser.add_argument("--published-at", type=float, default=None, help="seconds; what lies later by 5 min is ahead")
    parser.add_argument("--at-least", type=int, default=20_000, help="non-zero values that must have been compared")
    args = parser.parse_args()
    platform = Platform(args)
    events, flagged = read_page_events(args.events, args.published_at or time.time())
    transactions = read_transactions(args.transactions)
    compared, differences = 0, []

    def compare(name, expected, answered):
        nonlocal compared
        for key in sorted(set(expected) | set(answered)):
            want, got = expected.get(key, 0), answered.get(key, 0)
            compared += want != 0
            if want != got:
                differences.append(f"{name} {key!r}: counted {want}, answered {got}")

    for window, window_s in [*WINDOWS.items(), ("all", None)]:
        for stat, field, by in [("active_users", "user_id", None), ("sessions", "session_id", "user_id")]:
            answered, as_of = platform.figures("page-events", stat, window_s)
            since = as_of - window_s * 1_000_000 if window_s else 0
            expected = distinct(events, field, by, since)
            compare(f"{stat} {window}", expected or ({"": 0} if by is None else {}), answered)
        answered, as_of = platform.figures("page-events", "top_pages", window_s)
        since = minute_start(as_of, window_s) if window_s else 0
        compare(f"top_pages {window}", collections.Counter(e["page_url"] for e in events if e["at"] >= since), answered)
        answered, as_of = platform.figures("transactions", "account_total", window_s)
        since = minute_start(as_of, window_s) if window_s else 0
        totals = collections.Counter()
        for account, cents, at in transactions:
            if at >= since:
                totals[account] += cents
        compare(f"account_total {window}", totals, answered)

    print(f"{len(events)} events count, {flagged} are flagged, {len(transactions)} transactions count")
    print(f"{compared} non-zero values compared, {len(differences)} differ")
    for difference in differences[:20]:
        print(f"  {difference}")
    if compared < args.at_least:
        sys.exit(f"only {compared} non-zero values were compared; at least {args.at_least} are needed")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
