"""A recognition as another process wrote it down."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from zoowizard.drafts.draft import Value
from zoowizard.families.family import Recognition, Warning


def _is_text(value: Any) -> Any:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be a text")
    return value


Text = Annotated[Any, AfterValidator(_is_text)]
"""pydantic's own `str` refuses names of files that are no UTF-8."""


class _RecordedValue(BaseModel):
    model_config = ConfigDict(strict=True)

    value: Any
    origin: Text


class _RecordedWarning(BaseModel):
    model_config = ConfigDict(strict=True)

    code: Text
    message: Text


class Recorded(BaseModel):
    """The object of `zoowizard.families.identify.to_json`; more may stand in it."""

    model_config = ConfigDict(strict=True)

    family: Text | None
    path: Text
    checkpoint: Text | None
    evidence: list[Text]
    fields: dict[str, _RecordedValue]
    warnings: list[_RecordedWarning]
    refused: Text | None
    unsafe: bool = False

    def recognition(self) -> Recognition:
        """What was written down."""
        return Recognition(
            path=Path(self.path),
            family=self.family,
            checkpoint=None if self.checkpoint is None else Path(self.checkpoint),
            evidence=tuple(self.evidence),
            values={name: Value(one.value, one.origin) for name, one in self.fields.items()},
            warnings=tuple(Warning(one.code, one.message) for one in self.warnings),
            refused=self.refused,
            unsafe=self.unsafe,
        )
