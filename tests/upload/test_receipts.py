"""Receipts: kept, read again, and never more than what is true."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from zoowizard.drafts.store import Workspace
from zoowizard.upload.receipts import Receipt, keep, receipts


def receipt(**changes: object) -> Receipt:
    told = {
        "kind": "folder",
        "where": "/data/nuclei.zip",
        "sha256": "0" * 64,
        "size": 12,
        "state": "done",
        "at": datetime(2026, 11, 21, tzinfo=UTC),
    }
    return Receipt.model_validate({**told, **changes})


def test_what_was_kept_is_read_again_newest_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    older = receipt(where="/data/old.zip")
    newer = receipt(at=older.at + timedelta(hours=1))
    keep(workspace, "nuclei", older)
    keep(workspace, "nuclei", newer)
    assert receipts(workspace, "nuclei") == [newer, older]
    assert receipts(workspace, "other") == []


def test_one_receipt_for_each_place(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    keep(workspace, "nuclei", receipt(sha256="1" * 64))
    keep(workspace, "nuclei", receipt(sha256="2" * 64))
    assert [one.sha256 for one in receipts(workspace, "nuclei")] == ["2" * 64]


def test_a_saved_file_confirms_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="only a server"):
        receipt(confirmed=True)
    assert receipt(kind="zoo", confirmed=True).confirmed
    with pytest.raises(ValidationError, match="only a server"):
        receipt(kind="zoo", confirmed=True, state="begun")


def test_a_damaged_receipt_proves_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = keep(workspace, "nuclei", receipt())
    text = path.read_text()
    for damage in ("", "[]", "{", text.replace('"confirmed": false', '"confirmed": true'), text.replace("12", '"a"')):
        path.write_text(damage)
        assert receipts(workspace, "nuclei") == []
