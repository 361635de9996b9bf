"""What both programs take, and write at their end."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from headwater.transactions.failure import WrongUsage


def common(program: str, description: str) -> argparse.ArgumentParser:
    """The flags of both."""
    made = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    add = made.add_argument
    add("-b", "--broker", required=True, metavar="HOST:PORT", help="brokers to begin with, separated by commas")
    add("-s", "--schema-registry", required=True, metavar="URL", help="name:password@ before the host where it asks")
    add("-t", "--topic", required=True)
    add("--timeout", type=seconds, default=30.0, metavar="S", help="longest wait for broker or registry [30]")
    add(
        *("-X", "--property"),
        dest="setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of librdkafka",
    )
    add("--summary", metavar="FILE", help="writes what was done as JSON")
    return made


def write_summary(path: str, summary: Mapping[str, object]) -> None:
    """Of --summary."""
    try:
        Path(path).write_text(json.dumps(summary) + "\n", encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"--summary {path}: cannot be written: {error.strerror}") from error


def positive(text: str) -> int:
    """A number of at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def not_negative(text: str) -> int:
    """A number of at least 0."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def rate(text: str) -> float:
    """A finite number of at least 0."""
    if not 0 <= (value := float(text)) < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a rate of 0 or more")
    return value


def seconds(text: str) -> float:
    """A time above 0, at most a day."""
    if not 0 < (value := float(text)) <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a time between 0 and 86400 s")
    return value
