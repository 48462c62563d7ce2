"""What is written down of a conversion and of a comparison, part by part; see `resume`."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Data in a file that is never changed, only replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorRecord(Record):
    """A tensor; its arrays are files, named from the job's folder."""

    id: str
    description: str
    axes: list[dict[str, Any]]
    data: dict[str, Any]
    test_tensor: str
    sample: str
    processing: list[dict[str, Any]]
    sample_axes: str = ""


class WeightsRecord(Record):
    """Weights, with the files that they need beside them."""

    weight_format: str
    file: str
    entry: dict[str, Any]
    parent: str | None
    beside: list[str]


class ImageParityRecord(Record):
    """See `matching.ImageParity`."""

    mean_iou: float | None
    identical_pixels: float
    n_true: int
    n_pred: int
    n_matched: int
    ap90: float | None


class ParityRecord(Record):
    """See `matching.Parity`."""

    images: int
    mean_iou: float | None
    identical_pixels: float
    ap90: float | None
    per_image: list[ImageParityRecord]


class DifferenceRecord(Record):
    """See `converted.Difference`; `allowed` is None where it is not bounded."""

    what: str
    value: float
    allowed: float | None


class AgreementRecord(Record):
    """See `agreement.Agreement`."""

    images: int
    apart: float
    outputs: dict[str, float]
