"""Exit codes, and what ends a program."""

DONE = 0
REFUSED_INPUT = 1
WRONG_USAGE = 2
SYSTEM_AWAY = 3


class Failure(Exception):  # noqa: N818 (the end of the program, and not only an error)
    """Ends the program with a code and a sentence on stderr."""

    def __init__(self, sentence: str, exit_code: int = SYSTEM_AWAY) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class WrongUsage(Failure):
    """A setting or flag that cannot be."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, WRONG_USAGE)
