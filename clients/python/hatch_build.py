"""Puts the calls' service config into what is built. It lies beside the clients, or in the source distribution."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "service-config.json"


# hatchling's base is untyped, and generic only in some versions of it: not every one needs each exception.
class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg,unused-ignore]
    """One for both kinds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Adds the file."""
        root = Path(self.root)
        source = next(one for one in (root / NAME, root.parent / NAME) if one.is_file())
        build_data["force_include"][str(source)] = NAME if self.target_name == "sdist" else f"headwater/{NAME}"
