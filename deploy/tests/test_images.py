"""The very commands that the images run, from their layout, as their user, on real parts."""

import json
import os
import re
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from image import AS_ROOT, ROOT, Image
from running import READY_TIMEOUT_S, end, finished, free_port, wait_ready
from stack import Stack, text_of

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


# Runs there too: waits until a member of a group has partitions of a topic.
WAIT_ASSIGNED = """
import sys, time
from confluent_kafka.admin import AdminClient
broker, group, topic, timeout_s = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": broker})
end = time.monotonic() + float(timeout_s)
while time.monotonic() < end:
    members = admin.describe_consumer_groups([group])[group].result(30).members
    if any(one.topic == topic for member in members for one in member.assignment.topic_partitions):
        sys.exit()
    time.sleep(0.2)
sys.exit(f"nobody in {group} has a partition of {topic} after {timeout_s} s")
"""


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


def test_health_check_says_ready_and_not(served, platform: Image) -> None:
    words = (platform.final.last("HEALTHCHECK") or "").split("CMD", 1)[1]
    script = [str(platform.inside(word)) for word in json.loads(words)]
    environment = served[0][3]
    assert subprocess.run(script, env=environment, timeout=10, check=False).returncode == 0
    away = {**environment, "HEADWATER_LISTEN_HTTP": f"127.0.0.1:{free_port()}"}
    assert subprocess.run(script, env=away, timeout=10, capture_output=True, check=False).returncode != 0


def test_platform_runs_as_the_images_user(served, platform: Image) -> None:
    if os.getuid() != 0:
        pytest.skip(AS_ROOT)
    status = Path(f"/proc/{served[0][0].pid}/status").read_text()
    user, group = (platform.final.last("USER") or "").split(":")
    assert f"\nUid:\t{user}\t" in status
    assert f"\nGid:\t{group}\t" in status


def test_platform_has_no_doubts_of_composes_redis(served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{served[0][1][1]}/readyz", timeout=5) as answer:
        report = json.load(answer)
    assert "cache: durability" in report["notes"], "has not looked yet"
    assert [trouble for trouble in report["troubles"] if trouble["name"].startswith("cache")] == []


def test_readme_tells_how_to_generate_events(served, platform: Image, folder: Path) -> None:
    """In compose the program is in the container only, and has that one's variables."""
    readme = (ROOT / "deploy/README.md").read_text()
    (words,) = re.findall(r"docker compose exec headwater headwater (generate .*)", readme)
    words = re.sub(r"--duration \S+", "--duration 1s", words).split()
    address = ["--address", f"http://127.0.0.1:{served[0][1][0]}"]
    finished(platform, [*words, *address], served[0][3], folder / "generate.log")


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
    served, stack: Stack, python: Image, language: str, request: pytest.FixtureRequest, folder: Path
) -> None:
    assert served
    image: Image = request.getfixturevalue(language)
    log = folder / f"ended-{language}.log"
    # Goes on from the state that the test before left, so that it waits for records.
    process = image.start(stack.command(f"consume-{language}"), {}, log)
    kafka = stack.addresses["kafka-1:9092,kafka-2:9092,kafka-3:9092"]
    wait = [str(python.inside("/opt/headwater/bin/python")), "-c", WAIT_ASSIGNED]
    try:
        about = [kafka, stack.group(f"consume-{language}"), stack.name, str(READY_TIMEOUT_S)]
        done = subprocess.run([*wait, *about], timeout=2 * READY_TIMEOUT_S, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + text_of(log)
        assert process.poll() is None, f"ended with {process.returncode}:\n{text_of(log)}"
        end(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
