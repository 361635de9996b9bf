"""What is built is whole: it works outside of the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parent.parent
CHECK = """
import json, headwater.transactions.produce
from headwater.channel import ConnectOptions
print(json.dumps([headwater.transactions.produce.__file__, dict(ConnectOptions()._settings())["grpc.service_config"]]))
"""


def done(*command: str | Path, **variables: str) -> str:
    """What a command prints that succeeds."""
    environment = {**os.environ, **variables}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_of_the_source_distribution_works_by_itself(tmp_path: Path) -> None:
    # `uv run` names itself.
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.fail("uv is missing: run `tools/setup python-client`, and put .tools/bin on PATH")
    # The build's own tool is that of this environment: nothing is fetched.
    done(uv, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "-o", tmp_path, PYTHON)
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    done(uv, "venv", "--offline", "--python", sys.executable, fresh)
    done(uv, "pip", "install", "--offline", "--no-deps", "--python", fresh / "bin" / "python", wheel)
    # What it depends on is that of this environment, where `headwater` is only named by a file that is not read so.
    libraries = sysconfig.get_path("purelib")
    printed = done(fresh / "bin" / "python", "-c", CHECK, PYTHONPATH=libraries)
    file, config = json.loads(printed)
    assert Path(file).is_relative_to(fresh)
    assert config == (PYTHON.parent / "service-config.json").read_text(encoding="utf-8")
    for name in ("produce", "consume"):
        said = done(fresh / "bin" / f"headwater-{name}-transactions", "--help", PYTHONPATH=libraries)
        assert "--schema-registry" in said
