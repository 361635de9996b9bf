#!/usr/bin/env python3
"""Makes the Protobuf code under src/headwater from the contracts. Run it by `uv run codegen.py`.

The options of buf and of Headwater are taken out of the descriptors first: no client needs them, and code that keeps
them would import modules of buf.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What the client has no use for: the options' own files.
LEFT_OUT = ("buf/", "headwater/stream/")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proto", type=Path, default=ROOT / "proto", metavar="DIR", help="the contracts")
    parser.add_argument("--out", type=Path, default=HERE / "src", metavar="DIR", help="where headwater/… is written")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the output is not up to date")
    arguments = parser.parse_args()
    if not any((arguments.proto / "headwater").rglob("*.proto")):
        print(f"--proto {arguments.proto}: there is no headwater/**/*.proto in it", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        generate(arguments.proto, made, Path(scratch) / "contracts.binpb")
        return check(made, arguments.out) if arguments.check else write(made, arguments.out)


def generate(proto: Path, out: Path, descriptor_set: Path) -> None:
    """Writes the code of every contract below `out`."""
    third_party = ROOT / "third_party" / "proto"
    sources = sorted(str(path.relative_to(proto)) for path in (proto / "headwater").rglob("*.proto"))
    include = str(Path(protoc.__file__).parent / "_proto")
    run(
        f"-I{proto}",
        f"-I{third_party}",
        f"-I{include}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={descriptor_set}",
        *sources,
    )
    files = FileDescriptorSet.FromString(descriptor_set.read_bytes())
    kept = FileDescriptorSet(file=[without_options(file) for file in files.file if not file.name.startswith(LEFT_OUT)])
    descriptor_set.write_bytes(kept.SerializeToString())
    made = [file.name for file in kept.file if file.name.startswith("headwater/")]
    # The generator of typed stubs lies beside this interpreter, which need not be on PATH.
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    run(
        f"--descriptor_set_in={descriptor_set}",
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
        *made,
    )


def without_options(file: FileDescriptorProto) -> FileDescriptorProto:
    """The file without its imports of LEFT_OUT and without custom options."""
    kept = [name for name in file.dependency if not name.startswith(LEFT_OUT)]
    del file.dependency[:], file.public_dependency[:], file.weak_dependency[:]
    file.dependency.extend(kept)
    for message in file.message_type:
        strip(message)
    return file


def strip(message: DescriptorProto) -> None:
    """Takes custom options out: to this program they are unknown fields."""
    message.options.DiscardUnknownFields()
    message.ClearField("options") if not message.options.ListFields() else None
    for field in message.field:
        field.options.DiscardUnknownFields()
        if not field.options.ListFields():
            field.ClearField("options")
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for nested in message.nested_type:
        strip(nested)


def run(*arguments: str) -> None:
    """protoc of this interpreter, as a process of its own: it prints its errors by itself."""
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)  # noqa: S603


def write(made: Path, out: Path) -> int:
    """Replaces the code below `out` by what was made."""
    for stale in set(generated(out)) - set(generated(made)):
        (out / stale).unlink()
    for path in generated(made):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes((made / path).read_bytes())
    return 0


def check(made: Path, out: Path) -> int:
    """1 where the code below `out` is not what was made."""
    names = sorted(set(generated(made)) | set(generated(out)))
    stale = [
        name
        for name in names
        if not (out / name).is_file()
        or not (made / name).is_file()
        or not filecmp.cmp(made / name, out / name, shallow=False)
    ]
    for name in stale:
        print(f"{out / name}: not what codegen.py makes of the contracts: run `uv run codegen.py`", file=sys.stderr)
    return 1 if stale else 0


def generated(folder: Path) -> list[Path]:
    """Generated files below a folder."""
    return sorted(path.relative_to(folder) for path in folder.glob("headwater/**/*_pb2.py*"))


if __name__ == "__main__":
    sys.exit(main())
