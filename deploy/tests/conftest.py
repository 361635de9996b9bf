"""Images laid out once per run, in a folder that the images' user may read."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from image import ROOT, Image
from running import free_port, wait_answers
from stack import Stack, services


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="headwater-deploy-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def parts() -> dict[str, str]:
    names = ["HEADWATER_TEST_KAFKA", "HEADWATER_TEST_REGISTRY", "HEADWATER_TEST_POSTGRES"]
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        pytest.fail(f"{', '.join(missing)} missing: run `make test`, or `make parts` and set what it prints")
    return {name.removeprefix("HEADWATER_TEST_"): os.environ[name] for name in names}


@pytest.fixture(scope="session")
def redises(folder: Path) -> Iterator[dict[str, str]]:
    """Both Redis of compose, each by compose's own command: address by the service's name."""
    found, running = {}, []
    try:
        for name in ("redis", "cache-redis"):
            (folder / name).mkdir()
            port, log = free_port(), folder / f"{name}.log"
            ours = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / name)]
            with log.open("wb") as file:
                command = [*services()[name]["command"], *ours]
                running.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
            wait_answers(running[-1], port, log)
            found[name] = f"redis://127.0.0.1:{port}"
        yield found
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def stack(parts: dict[str, str], redises: dict[str, str]) -> Stack:
    return Stack(parts, redises, f"deploy-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def platform(folder: Path) -> Image:
    image = Image("headwater", folder)
    binary = Path(os.environ.get("HEADWATER_TEST_BIN", ROOT / "target/debug/headwater"))
    if not binary.exists():
        pytest.fail(f"{binary} is missing: run `cargo build --bin headwater`")
    image.root.mkdir(parents=True)
    # Stands for what the build stage leaves; the stage itself takes minutes, and is what `make build` does.
    shutil.copy2(binary, image.inside("/headwater"))
    image.finish()
    return image


@pytest.fixture(scope="session")
def python(folder: Path) -> Image:
    image = Image("python", folder)
    # The system's: the images' user may not be let into the folder of another one.
    environment = {
        "UV_PYTHON": os.environ.get("HEADWATER_TEST_PYTHON", "/usr/bin/python3"),
        # The caches are this machine's, not the build's.
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
    }
    image.build(image.stages[0], ("uv",), environment)
    image.finish()
    return image


@pytest.fixture(scope="session")
def scala(folder: Path) -> Image:
    image = Image("scala", folder)
    image.build(image.stages[0], ("mvn",), {"MAVEN_OPTS": os.environ.get("MAVEN_OPTS", "")})
    image.finish()
    return image
