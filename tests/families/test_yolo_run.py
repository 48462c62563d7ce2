"""The files beside a checkpoint, as the versions of ultralytics and its users left them."""

from pathlib import Path

import pytest

from zoowizard.errors import ZoowizardError
from zoowizard.families.yolo_run import find_picture, read_results, read_yaml


def results(folder: Path, text: str) -> Path:
    (folder / "results.csv").write_bytes(text.encode())
    return folder / "results.csv"


def test_headers_with_spaces_byte_order_mark_and_windows_ends(tmp_path: Path) -> None:
    """ultralytics 8.0 to 8.2 pad every cell."""
    header = "\ufeff                  epoch,         train/seg_loss,     metrics/mAP50(M)\r\n"
    told = f"{header}   1,  5.7692,  0\r\n  2,   4.1,   0.5\r\n"
    curves, warnings = read_results(results(tmp_path, told))
    assert curves == {"epoch": [1, 2], "train/seg_loss": [5.7692, 4.1], "metrics/mAP50(M)": [0, 0.5]}
    assert warnings == []


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    curves, warnings = read_results(results(tmp_path, "epoch,time,val/seg_loss\n1,2.0,3.0\n2,4.0"))
    assert curves["epoch"] == [1]
    assert [one.code for one in warnings] == ["damaged-results"]
    assert "line 3" in warnings[0].message


def test_a_resumed_training_repeats_header_and_epochs(tmp_path: Path) -> None:
    told = "epoch,train/seg_loss\n1,3\n2,2\nepoch,train/seg_loss,train/sem_loss\n2,1.9,0\n3,1,0\n"
    curves, warnings = read_results(results(tmp_path, told))
    assert curves["train/seg_loss"] == [3, 1.9, 1]
    assert curves["train/sem_loss"] == [None, 0, 0]
    assert warnings == []


def test_nan_and_infinity_are_unknown_and_epochs_count_from_one(tmp_path: Path) -> None:
    curves, _ = read_results(results(tmp_path, "epoch,val/seg_loss\n0,nan\n1,inf\n2,0.5\n3,\n"))
    assert curves == {"epoch": [1, 2, 3, 4], "val/seg_loss": [None, None, 0.5, None]}


@pytest.mark.parametrize("told", ["", "epoch,a\n", "\0\xff\n,,,\n", "1,2,3\n"])
def test_a_file_without_epochs_is_damaged(told: str, tmp_path: Path) -> None:
    path = results(tmp_path, told or "\n")
    curves, warnings = read_results(path)
    assert not curves.get("epoch")
    assert [one.code for one in warnings] == ["damaged-results"]


def test_yaml_is_read_as_data_only(tmp_path: Path) -> None:
    path = tmp_path / "args.yaml"
    path.write_text(f"task: !!python/object/apply:os.system ['touch {tmp_path}/canary']\n")
    with pytest.raises(ZoowizardError, match=r"args\.yaml is no valid YAML \(line 1\)"):
        read_yaml(path)
    assert not (tmp_path / "canary").exists()
    for bad in ("a: [1", "- 1\n- 2\n", "[" * 5000, "a: " + "9" * 10_000, "x" * (1 << 21)):
        path.write_text(bad)
        with pytest.raises(ZoowizardError, match=r"^args\.yaml "):
            read_yaml(path)


def test_the_first_validation_image_with_objects_is_found(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind / "val").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (tmp_path / "set" / "images" / "val" / f"{name}.png").touch()
    (tmp_path / "set" / "images" / "val" / "0.txt").touch()
    (tmp_path / "set" / "labels" / "val" / "a.txt").touch()
    (tmp_path / "set" / "labels" / "val" / "b.txt").write_text("0 0.1 0.1 0.2 0.2 0.1 0.2\n")
    place = tmp_path / "data.yaml"
    wanted = tmp_path / "set" / "images" / "val" / "b.png"
    assert find_picture({"path": "set", "val": "images/val"}, place) == wanted
    assert find_picture({"path": str(tmp_path / "set"), "val": ["nowhere", "images/val"]}, place) == wanted
    (tmp_path / "val.txt").write_text("./set/images/val/a.png\n./set/images/val/b.png\n")
    assert find_picture({"val": "val.txt"}, place) == wanted
    for nothing in ({}, {"val": 3}, {"val": "nowhere"}, {"path": 5, "val": None}, {"val": "a\0b"}):
        assert find_picture(nothing, place) is None
