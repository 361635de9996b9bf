"""What Dockerfiles, compose and chart say must fit together, and the platform must know every setting in them."""

import json
import re
import subprocess
from collections import Counter

import pytest
import yaml
from image import ROOT, Image, context, stages
from stack import services

DOCKERFILES = sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))
# So much at most is sent to a build: a folder of built things that slipped through would be far more.
CONTEXT_BYTES_MAX = 32 << 20
CHART = ROOT / "deploy/helm/headwater"
# What Apicurio's pool holds at most.
REGISTRY_POOL_MAX = 100


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.stem)
def test_image_is_pinned_small_and_not_root(dockerfile) -> None:
    found = stages(dockerfile)
    assert len(found) > 1, "one stage: what builds would be in the image"
    for stage in found:
        assert re.search(r":[^:]*\d+\.\d+", stage.base), f"{stage.base}: no version"
    final = found[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final.last("USER") or ""), "USER must be a number and not 0"
    assert final.last("STOPSIGNAL") == "SIGTERM"
    assert final.exec_form("ENTRYPOINT") + final.exec_form("CMD"), (
        "ENTRYPOINT and CMD must be lists: a shell takes signals"
    )
    assert sum((ROOT / path).stat().st_size for path in context(dockerfile)) < CONTEXT_BYTES_MAX


def test_workspace_is_whole_in_the_platforms_context(platform: Image) -> None:
    command = ["cargo", "metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]
    done = subprocess.run(command, cwd=platform.context, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def known(platform: Image) -> dict[str, dict]:
    """What `headwater settings --json` says of each setting."""
    done = subprocess.run(
        platform.command(["settings", "--json"]), capture_output=True, text=True, timeout=30, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["key"]: line for line in lines}


def test_platform_knows_every_setting(known: dict[str, dict], platform: Image) -> None:
    variables = {setting["env"] for setting in known.values()}
    for name, service in services().items():
        ours = {key for key in service.get("environment", {}) if key.startswith("HEADWATER_")}
        assert ours <= variables, f"compose: {name}: unknown: {ours - variables}"
    assert set(platform.variables(platform.final)) <= variables


def test_chart_takes_the_platforms_settings_and_no_others(known: dict[str, dict]) -> None:
    """helm refuses what is not in the list (deploy/check), so the list must be whole."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    # Where the chart's own probes and Services look.
    assert schema["definitions"]["setting"]["enum"] == [
        key for key in known if key not in ("listen.grpc", "listen.http")
    ]


def test_charts_consumers_count_what_its_producers_send() -> None:
    """A consumer that only waits for quiet would succeed with nothing, where a producer's image is pulled slowly."""
    jobs = yaml.safe_load((CHART / "values.yaml").read_text())["clients"]["jobs"].values()

    def number(job: dict, flag: str) -> int:
        return int(job["args"][job["args"].index(flag) + 1])

    sent = sum(number(job, "--count") for job in jobs if "produce" in job["program"])
    consumers = [job for job in jobs if "consume" in job["program"]]
    assert [number(job, "--count") for job in consumers] == [sent] * 2
    assert min(number(job, "--idle-exit") for job in consumers) >= 300


def test_each_image_is_built_once() -> None:
    """Two services that build one tag export it at once, and the second is told that it exists already."""
    found = services()
    own = {name: service for name, service in found.items() if service["image"].startswith("headwater")}
    built = Counter(service["image"] for service in own.values() if "build" in service)
    assert built == dict.fromkeys({service["image"] for service in own.values()}, 1)
    for name, service in own.items():
        if "build" not in service:
            assert service.get("pull_policy") == "never", f"{name}: its image is in no registry"
            needed = [found[other] for other in service["depends_on"]]
            assert any("build" in other and other["image"] == service["image"] for other in needed), (
                f"{name}: started by itself nobody builds its image"
            )


def test_redis_evicts_only_what_the_platform_allows() -> None:
    """What the documents ask for. That the platform has no doubts of it is in test_images.py."""
    policies = {}
    for name in ("redis", "cache-redis"):
        words = services()[name]["command"]
        policies[name] = words[words.index("--maxmemory-policy") + 1]
    assert policies == {"redis": "noeviction", "cache-redis": "volatile-lru"}


def test_postgres_has_connections_for_all(known: dict[str, dict]) -> None:
    found = services()
    pool = int(known["postgres.pool_size_max"]["default"])
    # More processors than partitions have nothing to do; and there is the one that is no processor.
    processes = int(found["processor"]["environment"]["HEADWATER_TOPICS_PARTITIONS"]) + 1
    needed = REGISTRY_POOL_MAX + pool * processes
    limits = [word for word in found["postgres"].get("command", []) if word.startswith("max_connections=")]
    assert int(limits[0].split("=")[1] if limits else 100) > needed


def test_health_checks_start_no_java() -> None:
    for name, service in services().items():
        words = service.get("healthcheck", {}).get("test", [])
        assert not any(word.endswith(".sh") for word in words), f"{name}: {words}"


def test_registry_keeps_its_images_java_options() -> None:
    assert "JAVA_OPTIONS" not in services()["schema-registry"]["environment"], "replaces the image's own"


def test_compose_hangs_together() -> None:
    document = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
    found = document["services"]
    volumes = set()
    for name, service in found.items():
        own = service["image"].startswith("headwater")
        if own:
            if build := service.get("build"):
                dockerfile = ROOT / "deploy/compose" / build["context"] / build["dockerfile"]
                assert dockerfile.exists(), f"{name}: {dockerfile}"
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        else:
            assert re.search(r":[^:]*\d+\.\d+|CU\d+", service["image"]), f"{name}: no version: {service['image']}"
            assert "healthcheck" in service, f"{name}: nobody can wait for it"
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in found, f"{name}: depends on {needed}, which there is not"
            # Who builds the image must only be there first: a consumer has no health check, and statistics are ready
            # when the processor has made the tables.
            builds = found[needed]["image"] == service["image"]
            assert condition == {"condition": "service_started" if builds else "service_healthy"}
        volumes |= {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
    assert volumes == set(document["volumes"])
    ports = [port for service in found.values() for port in service.get("ports", [])]
    assert len({port.split(":")[1] for port in ports}) == len(ports), "two services with one port"
    assert all(port.startswith("127.0.0.1:") for port in ports), "a port that others can reach, with known passwords"
