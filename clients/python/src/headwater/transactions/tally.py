"""What a consumer has counted in this run."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of this run; with a state file the sums that are shown are the state's."""

    counted: int = 0
    newer_fields: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    # Account to cents and count.
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """All records, those that could not be counted too."""
        return self.counted + self.skipped.total()

    def add(self, batch: "Batch") -> None:
        """Takes over a batch that is done."""
        self.counted += batch.counted
        self.newer_fields += batch.newer_fields
        self.skipped.update(reason for reason, _ in batch.skipped)


@dataclass
class Batch:
    """Records that are counted together."""

    counted: int = 0
    newer_fields: int = 0
    # Account to cents and count, of this batch alone.
    added: dict[str, tuple[int, int]] = field(default_factory=dict)
    # In the records' order, where they are wanted: the account, and the batch's sum for it so far.
    lines: list[tuple[str, int]] = field(default_factory=list)
    # Reason, and the sentence for it.
    skipped: list[tuple[str, str]] = field(default_factory=list)
    # Partition to where it was and where it goes on.
    moves: dict[int, tuple[int, int]] = field(default_factory=dict)
