"""What probing has found, with the evidence for people; JSON both ways, so that it can be kept and overruled."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from zoowizard.errors import ZoowizardError

OVERRULED = "said by you"


@dataclass(frozen=True)
class Finding:
    """One thing that was found: its `value`, a plain sentence of how it is known, and whether that leaves no doubt."""

    value: JsonValue
    evidence: str
    certain: bool


@dataclass(frozen=True)
class Findings:
    """All that was found, by name, and what was not, with the reason; `runs` of the network took `seconds` in all.

    The names and their values are those of `probe.probe`.
    """

    found: Mapping[str, Finding]
    missing: Mapping[str, str] = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0

    def overruled(self, name: str, value: JsonValue) -> "Findings":
        """The same with `value` in place of what was found, or was not."""
        return replace(
            self,
            found={**self.found, name: Finding(value, OVERRULED, True)},
            missing={other: why for other, why in self.missing.items() if other != name},
        )

    def to_json(self) -> str:
        """As JSON text."""
        return _ADAPTER.dump_json(self).decode()


def declared_sizes(findings: Findings) -> dict[str, dict[str, int]]:
    """The sizes that a description declares, {axis: {"min", "step"}}: those that are larger than both halos together.

    bioimageio.spec asks for that. A step of 0 is a fixed size. Raises KeyError where the sizes are not known.
    """
    halos: Any = findings.found["halo"].value if "halo" in findings.found else {}
    told: Any = findings.found["sizes"].value
    declared = {}
    for axis, one in told.items():
        least, step = int(one["min"]), int(one["step"])
        short = 2 * int(halos.get(axis, 0)) + 1 - least
        declared[axis] = {"min": least + (-(-short // step) * step if step and short > 0 else 0), "step": step}
    return declared


_ADAPTER = TypeAdapter(Findings)


def from_json(text: str | bytes) -> Findings:
    """What `to_json` wrote. Raises ZoowizardError where it is something else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as problem:
        raise ZoowizardError("the kept findings cannot be read; probe the network again") from problem
