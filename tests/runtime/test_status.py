import re

from edgecls.runtime.build import C_FOLDER
from edgecls.runtime.status import TEXTS, Status


def test_the_statuses_are_those_of_the_c_header() -> None:
    header = (C_FOLDER / "include" / "edgecls.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"\bEC_(?:ERROR_)?([A-Z]+) = (\d+)", header)}
    assert found == {status.name: status.value for status in Status}


def test_the_texts_are_those_of_the_library() -> None:
    source = (C_FOLDER / "src" / "status.c").read_text()
    found = dict(re.findall(r'case EC_ERROR_([A-Z]+): return "(.+?)";', source))
    assert found == {status.name: text for text, status in TEXTS.items()}
