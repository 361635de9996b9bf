"""What Dockerfiles, compose and chart say must fit together, and the platform must know every setting in them."""

import re
import subprocess

import pytest
import yaml
from image import ROOT, Image, context, stages
from stack import services

DOCKERFILES = sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))
# So much at most is sent to a build: a folder of built things that slipped through would be far more.
CONTEXT_BYTES_MAX = 32 << 20


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


def known_settings(platform: Image) -> set[str]:
    text = subprocess.run(
        [*platform.command(["settings"])], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    return {line.split()[0] for line in text.splitlines()}


def test_platform_knows_every_setting(platform: Image) -> None:
    known = known_settings(platform)
    variables = {"HEADWATER_" + name.upper().replace(".", "_") for name in known}
    for name, service in services().items():
        ours = {key for key in service.get("environment", {}) if key.startswith("HEADWATER_")}
        assert ours <= variables, f"compose: {name}: unknown: {ours - variables}"
    assert set(platform.variables(platform.final)) <= variables
    chart = ROOT / "deploy/helm/headwater"
    for file in [chart / "values.yaml", *(chart / "ci").glob("*.yaml")]:
        values = yaml.safe_load(file.read_text())
        ours = {*values.get("settings", {}), *values.get("secretSettings", {})}
        assert ours <= known, f"{file.name}: unknown: {ours - known}"


def test_compose_hangs_together() -> None:
    document = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
    found = document["services"]
    volumes = set()
    for name, service in found.items():
        own = service["image"].startswith("headwater")
        if own:
            dockerfile = ROOT / "deploy/compose" / service["build"]["context"] / service["build"]["dockerfile"]
            assert dockerfile.exists(), f"{name}: {dockerfile}"
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        else:
            assert re.search(r":[^:]*\d+\.\d+|CU\d+", service["image"]), f"{name}: no version: {service['image']}"
            assert "healthcheck" in service, f"{name}: nobody can wait for it"
        for needed, condition in service.get("depends_on", {}).items():
            assert needed in found, f"{name}: depends on {needed}, which there is not"
            assert condition == {"condition": "service_healthy"}
        volumes |= {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
    assert volumes == set(document["volumes"])
    ports = [port for service in found.values() for port in service.get("ports", [])]
    assert len({port.split(":")[1] for port in ports}) == len(ports), "two services with one port"
    assert all(port.startswith("127.0.0.1:") for port in ports), "a port that others can reach, with known passwords"
