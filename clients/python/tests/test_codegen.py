"""The programs of a newer contract are the same code, generated anew: old and new ones read each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import PROTO, Stream

PYTHON = Path(__file__).resolve().parent.parent
ROOT = PYTHON.parents[1]
NEWER = PROTO.replace("double amount = 5;", "double amount = 5;\n  string currency = 6;")


def test_programs_of_a_newer_contract(stream: Stream, tmp_path: Path) -> None:
    shutil.copytree(PYTHON / "src", tmp_path / "src")
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "tests" / "conformance" / "evolution" / "newer", tmp_path / "proto", dirs_exist_ok=True)
    arguments = ["--proto", str(tmp_path / "proto"), "--out", str(tmp_path / "src")]
    subprocess.run([sys.executable, str(PYTHON / "codegen.py"), *arguments], check=True, timeout=60)

    def newer(name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"headwater.transactions.{name}", *arguments, "--quiet"]
        subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(tmp_path / "src")})

    def counted(name: str) -> tuple[int, int, dict[str, str]]:
        found = json.loads((tmp_path / name).read_text())
        return found["counted"], found["newer_fields"], found["sums"]

    stream.register(NEWER)
    assert stream.produce("--count", "30", "--quiet").returncode == 0
    newer("produce", *stream.produce_arguments(), "--count", "70")
    until = ["--count", "100", "--idle-exit", "20", "--summary"]
    newer("consume", *stream.consume_arguments("newer"), *until, str(tmp_path / "newer.json"))
    old = stream.consume(*until, str(tmp_path / "old.json"), "--quiet", group="old")
    assert old.returncode == 0, old.stderr
    assert counted("old.json")[:2] == (100, 70)
    assert counted("newer.json") == (100, 0, counted("old.json")[2])
