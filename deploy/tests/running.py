"""Starting a process, waiting until it is ready, and ending it, each with its log where that goes wrong."""

import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from image import Image
from stack import text_of

READY_TIMEOUT_S = 60
END_TIMEOUT_S = 15


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_answers(process: subprocess.Popen, port: int, log: Path) -> None:
    """Until something listens."""
    end = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, f"ended with {process.returncode}:\n{text_of(log)}"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"does not listen after {READY_TIMEOUT_S} s:\n{text_of(log)}")


def wait_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, f"ended with {process.returncode}:\n{text_of(log)}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"not ready after {READY_TIMEOUT_S} s:\n{text_of(log)}")


def end(process: subprocess.Popen, log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"did not end within {END_TIMEOUT_S} s of SIGTERM:\n{text_of(log)}")
    assert code == 0, f"ended with {code} on SIGTERM:\n{text_of(log)}"


def finished(image: Image, command: list[str], environment: dict[str, str], log: Path, within_s: int = 60) -> str:
    process = image.start(command, environment, log)
    try:
        assert process.wait(within_s) == 0, f"{command[0]} ended with {process.returncode}:\n{text_of(log)}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return text_of(log)
