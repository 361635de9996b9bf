"""Producer to consumer through the real Kafka and registry."""

import json
from decimal import Decimal
from pathlib import Path

from conftest import Stream


def test_what_is_produced_is_summed(stream: Stream, tmp_path: Path) -> None:
    produced = stream.produce("--seed", "7", "--summary", str(tmp_path / "sent.json"))
    assert produced.returncode == 0, produced.stderr
    sent = json.loads((tmp_path / "sent.json").read_text())
    assert (sent["sent"], sent["refused"]) == (1000, 0)

    consumed = stream.consume("--idle-exit", "3", "--summary", str(tmp_path / "read.json"))
    assert consumed.returncode == 0, consumed.stderr
    read = json.loads((tmp_path / "read.json").read_text())
    assert (read["records"], read["counted"], read["skipped"]) == (1000, 1000, {})
    assert len(read["sums"]) == 20

    lines = consumed.stdout.splitlines()
    last = dict(line[1:-1].split(", ") for line in lines if line.startswith("("))
    assert last == read["sums"]
    assert lines[-1].split() == ["total", "1000", str(sum(map(Decimal, read["sums"].values())))]
