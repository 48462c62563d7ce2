"""Event files as TensorBoard itself writes them."""

import struct
from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.families.tfevents import read_scalars


def written(folder: Path) -> Path:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    writer.add_event(Event(graph_def=b"x" * 10_000))
    for step, loss in enumerate((3.0, 2.0, 1.5), 1):
        for name, value in {"train/seg_loss": loss, "metrics/mAP50(M)": 1 / loss}.items():
            writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))
    tensor = TensorProto(dtype=1, float_val=[0.5])
    writer.add_event(Event(step=1000, summary=Summary(value=[Summary.Value(tag="lr/pg0", tensor=tensor)])))
    writer.close()
    return next(folder.iterdir())


def test_scalars_are_what_tensorboard_was_given(tmp_path: Path) -> None:
    series = read_scalars(written(tmp_path))
    assert series["train/seg_loss"] == {1: 3.0, 2: 2.0, 3: 1.5}
    assert series["metrics/mAP50(M)"] == pytest.approx({1: 1 / 3, 2: 0.5, 3: 2 / 3})
    assert series["lr/pg0"] == {1000: 0.5}


def test_a_file_cut_anywhere_gives_what_was_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    counts = []
    for end in range(1, len(whole), 41):
        path.write_bytes(whole[:end])
        counts.append(sum(len(points) for points in read_scalars(path).values()))
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 6


def test_damage_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    for record in (b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff" * 30, b"\x2a\x02\x0a\x09", b"\x0b"):
        path.write_bytes(struct.pack("<QI", len(record), 0) + record + b"\0\0\0\0")
        assert read_scalars(path) == {}
    path.write_bytes(b"")
    with pytest.raises(ZoowizardError, match="is empty"):
        read_scalars(path)
