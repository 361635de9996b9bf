"""What a Dockerfile says, and a folder that looks as its image would, without Docker.

All stages share one folder, so that what names its own path (a Python environment) need not move. What is not done:
base images, and RUN lines other than those that a test asks for.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import warnings
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How long a build step may take on a machine that does other things too.
BUILD_TIMEOUT_S = 300
AS_ROOT = "for that, run the tests as root (`sudo -E make test`, or in a container)"


@dataclass
class Stage:
    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, word: str) -> str | None:
        return next((rest for step, rest in reversed(self.steps) if step == word), None)

    def exec_form(self, word: str) -> list[str]:
        text = self.last(word)
        return json.loads(text) if text else []


def stages(dockerfile: Path) -> list[Stage]:
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, *name = re.split(r"\s+AS\s+", rest)
            found.append(Stage(base, *name))
        else:
            found[-1].steps.append((word, rest))
    return found


def context(dockerfile: Path) -> list[Path]:
    """The files, relative to the repository, that a build would be sent: .dockerignore's last fitting line counts."""
    rules = [
        (line.removeprefix("!"), line.startswith("!"))
        for line in dockerfile.with_name(dockerfile.name + ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    def sent(path: str) -> bool:
        # A rule for a folder is one for all in it.
        parts = path.split("/")
        ways = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        answer = True
        for rule, keep in rules:
            fits = any(
                fnmatch.fnmatch(way.rsplit("/", 1)[-1], rule[3:])
                if rule.startswith("**/")
                else fnmatch.fnmatch(way, rule) and way.count("/") == rule.count("/")
                for way in ways
            )
            answer = keep if fits else answer
        return answer

    tops = {rule.split("/")[0] for rule, keep in rules if keep}
    found = []
    for top in sorted(tops):
        for folder, folders, files in os.walk(ROOT / top) if (ROOT / top).is_dir() else [(ROOT, [], [top])]:
            # Never sent, and so large that looking through them takes long.
            folders[:] = [name for name in folders if name not in ("target", "node_modules", ".venv", "__pycache__")]
            paths = [(Path(folder) / name).relative_to(ROOT) for name in files]
            found += [path for path in paths if sent(str(path))]
    return found


class Image:
    """A Dockerfile laid out in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.dockerfile = ROOT / f"deploy/docker/{name}.Dockerfile"
        self.stages = stages(self.dockerfile)
        self.final = self.stages[-1]
        self.folder = folder / name
        self.root = self.folder / "root"
        self.context = self.folder / "context"
        for path in context(self.dockerfile):
            (self.context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, self.context / path)

    def inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def variables(self, stage: Stage) -> dict[str, str]:
        """ENV, with paths of the image where there are such in the folder."""
        found: dict[str, str] = {}
        for word, rest in stage.steps:
            if word == "ENV":
                for pair in shlex.split(rest):
                    name, value = pair.split("=", 1)
                    parts = value.split(":") if name == "PATH" else [value]
                    parts = [str(self.inside(part)) if part.startswith("/opt/") else part for part in parts]
                    found[name] = ":".join(parts).replace("$PATH", os.environ["PATH"])
        return found

    def build(self, stage: Stage, tools: tuple[str, ...], environment: dict[str, str] | None = None) -> None:
        """Does a stage's COPY, and those of its RUN that begin with one of the tools."""
        work = "/"
        for word, rest in stage.steps:
            words = shlex.split(rest) if word in ("COPY", "RUN") else []
            flags = [part for part in words if part.startswith("--")]
            if word == "WORKDIR":
                work = rest
                self.inside(work).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                *sources, target = [part for part in words if not part.startswith("--")]
                home = self.root if any(flag.startswith("--from=") for flag in flags) else self.context
                self._copy([home / source.lstrip("/") for source in sources], Path(work) / target, target.endswith("/"))
            elif word == "RUN":
                while words and words[0].startswith("--mount"):
                    words.pop(0)
                if words[0] in tools:
                    subprocess.run(
                        words,
                        cwd=self.inside(work),
                        env={**os.environ, **self.variables(stage), **(environment or {})},
                        timeout=BUILD_TIMEOUT_S,
                        check=True,
                    )
                elif words[0] == "install":
                    self.inside(words[-1]).mkdir(parents=True, exist_ok=True)

    def _copy(self, sources: list[Path], target: Path, is_folder: bool) -> None:
        place = self.inside(str(target))
        for source in sources:
            if not source.exists():
                raise FileNotFoundError(f"{self.dockerfile.name}: COPY: {source} is neither sent nor built")
            if source.is_dir():
                if source.resolve() != place.resolve():
                    shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
            else:
                end = place / source.name if is_folder or place.is_dir() else place
                end.parent.mkdir(parents=True, exist_ok=True)
                if source.resolve() != end.resolve():
                    shutil.copy2(source, end)

    def finish(self) -> None:
        """The final stage; what only a build stage had goes."""
        self.build(self.final, ())
        for path in ("src", "headwater"):
            gone = self.inside(path)
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)

    def as_user(self) -> dict[str, int]:
        """The image's own user. Only root may become it; another user is told so, and runs the programs as itself."""
        user, group = (int(part) for part in (self.final.last("USER") or "0:0").split(":"))
        if os.getuid() != 0:
            warnings.warn(f"run as user {os.getuid()}, not as the image's {user}: {AS_ROOT}", stacklevel=2)
            return {}
        os.chown(self.inside("/state"), user, group) if self.inside("/state").exists() else None
        return {"user": user, "group": group, "extra_groups": []}

    def command(self, command: list[str] | None = None) -> list[str]:
        """What the image runs: ENTRYPOINT, then the command given or CMD; with paths of the folder."""
        words = self.final.exec_form("ENTRYPOINT") + (command or self.final.exec_form("CMD"))
        path = self.variables(self.final).get("PATH", os.environ["PATH"])
        program = str(self.inside(words[0])) if words[0].startswith("/") else shutil.which(words[0], path=path)
        assert program, f"{self.dockerfile.name}: {words[0]} is not on the image's PATH"
        assert Path(program).is_relative_to(self.root), f"{words[0]} is not the image's own: {program}"
        return [program, *(word.replace("/state/", f"{self.inside('/state')}/") for word in words[1:])]

    def start(self, command: list[str] | None, environment: dict[str, str], output: Path) -> "subprocess.Popen[bytes]":
        """Starts what the image runs, with nothing in its environment but what the image and the caller say."""
        variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **self.variables(self.final), **environment}
        work = self.inside(self.final.last("WORKDIR") or "/")
        with output.open("wb") as file:
            return subprocess.Popen(
                self.command(command), cwd=work, env=variables, stdout=file, stderr=subprocess.STDOUT, **self.as_user()
            )
