"""Which messages a `.proto` text holds, and where: all that a frame's message indexes need."""

import re

_TOKEN = re.compile(
    r"""
    (?P<skipped> //[^\n]* | /\*.*?\*/ | \s+ )
    | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<word> [A-Za-z_][\w.]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class SchemaTextError(ValueError):
    """A text that is no `.proto` file."""


def message_paths(text: str) -> dict[tuple[int, ...], str]:
    """Message indexes to full names, of every message in the text, nested ones too."""
    tokens = [match[0] for match in _TOKEN.finditer(text) if match.lastgroup != "skipped"]
    package = ""
    paths: dict[tuple[int, ...], str] = {}
    # One entry for each open brace: the path of a message, or None for what counts no messages.
    open_braces: list[tuple[int, ...] | None] = []
    counts: dict[tuple[int, ...], int] = {(): 0}
    statement: list[str] = []
    for token in tokens:
        if token == "{":
            inside = open_braces[-1] if open_braces else ()
            path = None
            if len(statement) == 2 and statement[0] == "message" and inside is not None:
                path = (*inside, counts[inside])
                counts[inside] += 1
                counts[path] = 0
                parent = paths[inside] if inside else package
                paths[path] = f"{parent}.{statement[1]}" if parent else statement[1]
            open_braces.append(path)
            statement = []
        elif token == "}":
            if not open_braces:
                raise SchemaTextError("the schema's text closes a brace that it did not open")
            open_braces.pop()
            statement = []
        elif token == "<" and statement == ["map"] and open_braces and open_braces[-1] is not None:
            # A map's entry is a message to the compiler, in the place of its field.
            counts[open_braces[-1]] += 1
            statement.append(token)
        elif token == ";":
            if len(statement) == 2 and statement[0] == "package" and not open_braces:
                package = statement[1]
            statement = []
        else:
            statement.append(token)
    if open_braces:
        raise SchemaTextError("the schema's text ends within braces")
    return paths


def path_of(text: str, full_name: str) -> tuple[int, ...] | None:
    """The message indexes of a message; None where the text does not hold it."""
    return next((path for path, name in message_paths(text).items() if name == full_name), None)
