"""Messages a second of the producer and the consumer, each beside the least that anybody would write by hand.

Run in clients/python, with the real parts' variables set (`eval "$(cargo xtask parts env)"`):
`uv run python bench/throughput.py`. Ours and the other take turns, each time in a process of its own whose start is not
measured; the figures are medians of the rounds. Ends by itself.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from confluent_kafka.admin import AdminClient

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from conftest import new_stream  # noqa: E402

PAIRS = (
    ("producer", "our_producer", "peer_producer"),
    ("producer, made-up input", "our_made_up", "peer_made_up"),
    ("consumer", "our_consumer", "peer_consumer"),
    ("consumer --state", "our_consumer_with_state", "peer_consumer"),
)
ONE_MAX_S = 120


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--messages", type=int, default=200_000, help="of each round and side [200000]")
    parser.add_argument("--only", choices=[name for name, _, _ in PAIRS], help="one pair")
    flags = parser.parse_args()
    names = [name for name, _, _ in PAIRS if flags.only in (None, name)]
    full, written = new_stream(), new_stream()
    try:
        measure("our_producer", full.topic, flags.messages)
        print(f"{flags.rounds} rounds of {flags.messages} messages, medians; CPU is user and system of the process")
        print(f"{'':24}    ours/s    bare/s  ratio  ours/CPU s  bare/CPU s  ratio")
        for name, ours, peer in PAIRS:
            if name in names:
                topic = written.topic if "producer" in name else full.topic
                pair(name, ours, peer, topic, flags.rounds, flags.messages)
    finally:
        admin = AdminClient({"bootstrap.servers": full.broker})
        for deleted in admin.delete_topics([full.topic, written.topic]).values():
            deleted.result(20)


def pair(name: str, ours: str, peer: str, topic: str, rounds: int, messages: int) -> None:
    """One row. The first round only warms up."""
    found: dict[str, list[tuple[float, float]]] = {ours: [], peer: []}
    for number in range(rounds + 1):
        # Who is first changes too.
        for side in (ours, peer) if number % 2 else (peer, ours):
            measured = measure(side, topic, messages)
            if number:
                found[side].append(measured)
    wall, cpu = ([median(one[which] for one in found[side]) for side in (ours, peer)] for which in (0, 1))
    print(
        f"{name:24}  {wall[0]:8.0f}  {wall[1]:8.0f}  {wall[0] / wall[1]:5.2f}"
        f"  {cpu[0]:10.0f}  {cpu[1]:10.0f}  {cpu[0] / cpu[1]:5.2f}",
        flush=True,
    )


def measure(side: str, topic: str, messages: int) -> tuple[float, float]:
    """Messages by second of the wall and by second of CPU."""
    command = [sys.executable, str(HERE / "sides.py"), side, topic, str(messages)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=ONE_MAX_S, check=True, env=os.environ)  # noqa: S603
    count, wall_s, cpu_s = json.loads(ended.stdout)
    if count != messages - 1:
        raise SystemExit(f"{side}: {count} of {messages - 1} messages")
    return count / wall_s, count / cpu_s


if __name__ == "__main__":
    main()
