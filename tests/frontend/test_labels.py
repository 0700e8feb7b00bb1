"""Label lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecls.errors import ContractError
from edgecls.frontend.labels import load_labels


def test_imagenet_has_its_thousand_classes_in_order() -> None:
    labels = load_labels("imagenet")
    assert len(labels) == 1000 and len(set(labels)) == 1000
    assert (labels[0], labels[1], labels[281], labels[999]) == ("tench", "goldfish", "tabby", "toilet tissue")


def test_a_file_has_one_label_a_line(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes("\ufeffKatze\r\n Hund \r\nVögel\n\n".encode())
    assert load_labels(str(tmp_path / "l.txt")) == ("Katze", "Hund", "Vögel")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a\n\nb\n", b"\xff\xfe\x00a", b"a\n\x1b[31mb", b"1\ttench"])
def test_mistakes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(ContractError, match=r"l\.txt") as caught:
        load_labels(str(tmp_path / "l.txt"))
    assert "imagenet" in caught.value.hint


@pytest.mark.parametrize("name", ["imagenett", "../labels/imagenet", "", "a\0b"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        load_labels(name)
