import re

from edgecls.runtime.build import C_FOLDER
from edgecls.runtime.status import Status


def test_the_statuses_are_those_of_the_c_header() -> None:
    header = (C_FOLDER / "include" / "edgecls.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"\bEC_(?:ERROR_)?([A-Z]+) = (\d+),? ", header)
             if name != "F"}
    assert found == {status.name: status.value for status in Status}
