"""The chart's settings file and contracts of one's own, mounted as Kubernetes mounts a ConfigMap."""

import json
import uuid
from pathlib import Path

import yaml
from image import ROOT, Image
from running import end, finished, free_port, wait_ready
from stack import Stack

VALUES = ROOT / "deploy/helm/headwater/ci/own-values.yaml"
# NAME is one of its own for each run, as topic and schema are named by it.
ORDER = """
syntax = "proto3";
package acme;
import "headwater/stream/v1/stream.proto";
import "google/protobuf/timestamp.proto";
message Order {
  option (headwater.stream.v1.stream) = {name: "NAME" id: "order_id" key: "customer" time: "placed_at"};
  string order_id = 1;
  string customer = 2;
  google.protobuf.Timestamp placed_at = 3;
}
"""


def mounted(folder: Path, files: dict[str, str]) -> None:
    """As Kubernetes mounts a ConfigMap: a dated folder, `..data` as a link to it, and each file as one through that."""
    dated = folder / "..2026_11_21_17_00_00.1"
    dated.mkdir(parents=True)
    (folder / "..data").symlink_to(dated.name)
    for name, text in files.items():
        (dated / name).write_text(text)
        (folder / name).symlink_to(f"..data/{name}")


def test_platform_runs_with_a_mounted_config(stack: Stack, platform: Image, folder: Path) -> None:
    values = yaml.safe_load(VALUES.read_text())
    paths = [mount["mountPath"] for mount in values["extraVolumeMounts"]]
    contracts, config = folder / "contracts", folder / "etc-headwater"
    assert "/contracts" in paths
    stream = f"orders-{uuid.uuid4().hex[:12]}"
    mounted(contracts, {"order.proto": ORDER.replace("NAME", stream)})
    mounted(config, {"config.toml": values["config"].replace('"/contracts', f'"{contracts}')})
    ports, log = (free_port(), free_port()), folder / "config.log"
    environment = {**stack.environment("headwater", *ports), "HEADWATER_CONFIG": str(config / "config.toml")}
    process = platform.start(["serve", "--role", "ingest,processor,stats,cache"], environment, log)
    try:
        wait_ready(process, ports[1], log)
        address = ["--address", f"http://127.0.0.1:{ports[0]}"]
        shown = finished(
            platform, ["cache", "namespaces", "show", "sessions", "--json", *address], {}, folder / "show.log"
        )
        assert "1800000" in shown, shown
        file = folder / "order.ndjson"
        file.write_text(json.dumps({"order_id": "1", "customer": "c", "placed_at": "2026-11-21T17:00:00Z"}) + "\n")
        finished(platform, ["publish", "--stream", stream, str(file), *address], {}, folder / "publish-order.log")
        end(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
