"""Data sets: what is read, what is refused, and that a refusal names its line."""

import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecls.errors import DataError
from edgecls.harness.dataset import Item, _spread, load_dataset

NAMES = ("cat", "dog", "goldfish | carp", "crane", "crane")


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    return path


def write_csv(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "set.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_folder_per_class(tmp_path):
    for name in ("cat/b.png", "cat/a.JPG", "dog/deep/c.png", "4/d.png"):
        if name.endswith("JPG"):
            image(tmp_path / "cat/a.jpg").rename(tmp_path / name)
        else:
            image(tmp_path / name)
    (tmp_path / "cat/readme.txt").write_text("not an image")
    (tmp_path / "1").mkdir()
    dataset = load_dataset(tmp_path, NAMES)
    assert [(str(i.path.relative_to(tmp_path)), i.accepted) for i in dataset.items] == [
        ("4/d.png", (4,)), ("cat/a.JPG", (0,)), ("cat/b.png", (0,)), ("dog/deep/c.png", (1,))]
    assert dataset.notes == ("the folder of class '1' holds no images", "1 files that are no images were left out")


def test_a_csv_with_several_labels_other_columns_and_paths_elsewhere(tmp_path):
    inside, outside = image(tmp_path / "set/x.png"), image(tmp_path / "elsewhere/y.png")
    link = tmp_path / "set/link.png"
    link.symlink_to(outside)
    (tmp_path / "set").joinpath("set.csv").write_text(
        "\ufefflabel,camera,Path\r\ncat|1,front,x.png\r\n\r\ngoldfish | carp,rear,../elsewhere/y.png\r\n"
        f'3 | 4,rear,"{inside.parent}/link.png"\r\n', encoding="utf-8")
    dataset = load_dataset(tmp_path / "set/set.csv", NAMES)
    assert [i.accepted for i in dataset.items] == [(0, 1), (2,), (3, 4)]
    assert all(i.path.is_file() for i in dataset.items)
    assert dataset.items[1].origin.endswith("set.csv, line 4")


@pytest.mark.parametrize(("text", "message"), [
    ("", "line 1: the header must name"),
    ("x.png,cat\n", "line 1: the header must name"),
    ("path,label,label\nx.png,cat,dog\n", "line 1: the header must name"),
    ("path,label\n", "holds no images"),
    ("path,label\nx.png,cat\nno.png,cat\n", "line 3: no.png: there is no such image file"),
    ("path,label\nx.png,cat\nx.png,dog\n", "line 3: repeats the image of line 2"),
    ("path,label\nx.png,wolf\n", "line 2: 'wolf' is none of the network's 5 classes"),
    ("path,label\nx.png,5\n", "line 2: '5' is none of the network's 5 classes"),
    ("path,label\nx.png,-1\n", "line 2: '-1' is none"),
    ("path,label\nx.png,²\n", "line 2: '²' is none"),
    ("path,label\nx.png,crane\n", "line 2: 'crane' names the classes [3, 4]"),
    ("path,label\nx.png,\n", "line 2: the label is empty"),
    ("path,label\nx.png,cat||dog\n", "line 2: the label is empty"),
    ("path,label\nx.png\n", "line 2: 1 fields, but the header has 2"),
    ("path,label\n,cat\n", "line 2: the path is empty"),
    ("path,label\n/dev/zero,cat\n", "line 2: /dev/zero: there is no such image file"),
    (f"path,label\n{'n' * 5000},cat\n", "there is no such image file"),
    ('path,label\n"x.png,cat\n', "not valid CSV"),
])
def test_a_wrong_csv_is_refused_by_line(tmp_path, text, message):
    image(tmp_path / "x.png")
    with pytest.raises(DataError) as caught:
        load_dataset(write_csv(tmp_path, text), NAMES)
    assert message in caught.value.message
    assert "set.csv" in caught.value.message and caught.value.hint


def test_other_refusals(tmp_path):
    image(tmp_path / "folder/cat/x.png")
    with pytest.raises(DataError, match="not UTF-8"):
        load_dataset(write_csv(tmp_path, "path,label\nä.png,cat\n", "latin-1"), NAMES)
    with pytest.raises(DataError, match="did you mean 'dog'"):
        load_dataset(write_csv(tmp_path, "path,label\nfolder/cat/x.png,dogg\n"), NAMES)
    with pytest.raises(DataError, match="no such folder or CSV"):
        load_dataset(tmp_path / "nowhere", NAMES)
    with pytest.raises(DataError, match="leaves nothing"):
        load_dataset(tmp_path / "folder", NAMES, 0)
    with pytest.raises(DataError, match=r"folder .*wolf.* none of the network's"):
        image(tmp_path / "wolves/wolf/x.png")
        load_dataset(tmp_path / "wolves", NAMES)
    with pytest.raises(DataError, match="has no class names"):
        load_dataset(tmp_path / "folder", None)
    image(tmp_path / "folder/stray.png")
    with pytest.raises(DataError, match=r"stray\.png: is not in the folder of a class"):
        load_dataset(tmp_path / "folder", NAMES)


def test_a_pipe_does_not_hang_the_run(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no such image file"):
        load_dataset(write_csv(tmp_path, "path,label\npipe.png,cat\n"), NAMES)


def test_an_empty_label_means_none_for_several_labels_per_image(tmp_path):
    image(tmp_path / "x.png")
    dataset = load_dataset(write_csv(tmp_path, "path,label\nx.png,\n"), NAMES, task="multi-label")
    assert dataset.items[0].accepted == ()


def test_a_name_in_digits_is_a_name(tmp_path):
    image(tmp_path / "x.png")
    assert load_dataset(write_csv(tmp_path, "path,label\nx.png,1\n"), ("5", "3", "1")).items[0].accepted == (2,)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 90))
def test_a_limit_is_spread_evenly_over_the_classes(classes, limit):
    items = [Item(path=None, accepted=(c,), origin=str(i)) for i, c in enumerate(classes)]
    chosen = _spread(items, limit)
    assert len(chosen) == min(limit, len(items))
    positions = [int(i.origin) for i in chosen]
    assert positions == sorted(set(positions))
    had, got = Counter(classes), Counter(i.accepted[0] for i in chosen)
    fewest_left_wanting = min((got[c] for c in had if got[c] < had[c]), default=limit)
    assert all(got[c] <= fewest_left_wanting + 1 for c in had)
    assert chosen == _spread(items, limit)
