"""The very commands that the images run, from their layout, as their user, on real parts."""

import json
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from image import Image
from stack import Stack, text_of

READY_TIMEOUT_S = 60
END_TIMEOUT_S = 15
COUNT, CUSTOMERS = 1000, 20

# Runs in the Python image's own environment: makes a topic, and registers what the platform registered for its own.
MAKE_TOPIC = """
import json, sys, urllib.request
from confluent_kafka.admin import AdminClient, NewTopic
broker, registry, name = sys.argv[1:]
topic = NewTopic(name, 4, 1, config={"message.timestamp.type": "LogAppendTime"})
admin = AdminClient({"bootstrap.servers": broker})
admin.create_topics([topic])[name].result(30)
with urllib.request.urlopen(f"{registry}/subjects/transactions-value/versions/latest", timeout=30) as answer:
    known = json.load(answer)
body = {key: known[key] for key in ("schema", "schemaType", "references") if key in known}
headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
url = f"{registry}/subjects/{name}-value/versions"
urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30)
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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


@pytest.fixture(scope="module")
def stack(parts: dict[str, str]) -> Stack:
    return Stack(parts, f"deploy-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def served(stack: Stack, platform: Image, folder: Path):
    """compose's headwater and processor; at the end they must stop on SIGTERM with 0."""
    running = []
    try:
        for service in ("headwater", "processor"):
            ports = free_port(), free_port()
            log = folder / f"{service}.log"
            environment = stack.environment(service, *ports)
            running.append((platform.start(stack.command(service), environment, log), ports, log, environment))
        for process, ports, log, _ in running:
            wait_ready(process, ports[1], log)
        yield running
        for process, _, log, _ in running:
            end(process, log)
    finally:
        for process, *_ in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def finished(image: Image, command: list[str], environment: dict[str, str], log: Path, within_s: int = 60) -> str:
    process = image.start(command, environment, log)
    try:
        assert process.wait(within_s) == 0, f"{command[0]} ended with {process.returncode}:\n{text_of(log)}"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return text_of(log)


def test_health_check_says_ready_and_not(served, platform: Image) -> None:
    words = (platform.final.last("HEALTHCHECK") or "").split("CMD", 1)[1]
    script = [str(platform.inside(word)) for word in json.loads(words)]
    environment = served[0][3]
    assert subprocess.run(script, env=environment, timeout=10, check=False).returncode == 0
    away = {**environment, "HEADWATER_LISTEN_HTTP": f"127.0.0.1:{free_port()}"}
    assert subprocess.run(script, env=away, timeout=10, capture_output=True, check=False).returncode != 0


def test_platform_stores_what_is_published(served, platform: Image, folder: Path) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "user_id": "deploy",
        "page_url": "/deploy",
        "event_type": "page_view",
        "session_id": "deploy",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    file = folder / "event.ndjson"
    file.write_text(json.dumps(event) + "\n")
    file.chmod(0o644)
    address = ["--address", f"http://127.0.0.1:{served[0][1][0]}"]
    finished(platform, ["publish", "--stream", "page-events", str(file), *address], {}, folder / "publish.log")
    until = time.monotonic() + READY_TIMEOUT_S
    while True:
        process = platform.start(["explain", "page-events", event["event_id"], *address], {}, folder / "explain.log")
        if process.wait(30) == 0:
            break
        assert time.monotonic() < until, text_of(folder / "explain.log")
        time.sleep(0.5)
    assert "counted" in text_of(folder / "explain.log")


def test_clients_read_what_the_other_language_wrote(
    served, stack: Stack, python: Image, scala: Image, folder: Path
) -> None:
    assert served
    images = {"python": python, "scala": scala}
    kafka, registry = (
        stack.addresses["kafka-1:9092,kafka-2:9092,kafka-3:9092"],
        stack.here("http://schema-registry:8080/apis/ccompat/v7"),
    )
    make = [str(python.inside("/opt/headwater/bin/python")), "-c", MAKE_TOPIC, kafka, registry, stack.name]
    subprocess.run(make, timeout=60, check=True)
    summaries = folder / "summaries"
    summaries.mkdir()
    summaries.chmod(0o777)
    for language, image in images.items():
        summary = summaries / f"produced-{language}.json"
        command = stack.command(f"produce-{language}", "--summary", str(summary))
        finished(image, command, {}, folder / f"produce-{language}.log")
        assert json.loads(summary.read_text())["sent"] == COUNT
    consumed = {}
    for language, image in images.items():
        summary = summaries / f"consumed-{language}.json"
        command = stack.command(f"consume-{language}", "--count", str(2 * COUNT), "--summary", str(summary))
        finished(image, command, {}, folder / f"consume-{language}.log")
        consumed[language] = json.loads(summary.read_text())
        assert consumed[language]["counted"] == 2 * COUNT
        assert (image.inside("/state") / "sums.sqlite").exists()
    assert consumed["python"]["sums"] == consumed["scala"]["sums"]
    assert len(consumed["python"]["sums"]) == CUSTOMERS


@pytest.mark.parametrize("language", ["python", "scala"])
def test_consumer_ends_on_sigterm(
    served, stack: Stack, language: str, request: pytest.FixtureRequest, folder: Path
) -> None:
    assert served
    image: Image = request.getfixturevalue(language)
    log = folder / f"ended-{language}.log"
    # Goes on from the state that the test before left, so that it waits for records.
    process = image.start(stack.command(f"consume-{language}"), {}, log)
    try:
        time.sleep(4)
        assert process.poll() is None, f"ended with {process.returncode}:\n{text_of(log)}"
        end(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
