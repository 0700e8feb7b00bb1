"""Reports: goldens, refusals, and nothing from a result becomes markup or a formula."""

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecls.errors import DataError, OutputError
from edgecls.frozen import encode_json
from edgecls.report import RENDERERS, build_report, load_results, render, text
from edgecls.report.plot import comparison_svg, latency_svg
from edgecls.report.tables import _ms, tables
from edgecls.results import CheckResult, Report, parse_result
from tests import sample_results as sample


def report(results=None):
    return msgspec.structs.replace(build_report(results or sample.every()), edgecls="0.1.0")


@pytest.mark.parametrize("suffix", RENDERERS)
def test_golden(golden, suffix):
    golden(f"report{suffix}", render(report(), suffix))


def test_times_and_instruction_counts_share_no_column():
    for table in tables(report()):
        keys = " ".join(c.key for c in table.columns)
        assert not (re.search(r"_ms\b|time_", keys) and "instruction" in keys)
    rows = list(csv.DictReader(io.StringIO(render(report(), ".csv").decode())))
    assert len(rows) > 10
    for row in rows:
        times = [k for k, v in row.items() if v and (k.endswith("_ms") or k.startswith("time_"))]
        counts = [k for k, v in row.items() if v and k.startswith("instruction")]
        assert not (times and counts)


def test_csv_holds_full_precision():
    rows = list(csv.DictReader(io.StringIO(render(report(), ".csv").decode())))
    [bench] = [r for r in rows if r["file"] == "bench.json" and r["table"] == "Latency"]
    assert float(bench["p50_ms"]) == sample.latency().p50_ms and bench["p99_ms"] == ""
    assert bench["artifact"] == sample.A


def test_json_can_be_read_again():
    made = report()
    assert parse_result(render(made, ".json"), "report.json") == made


def test_an_invalid_measurement_says_so_and_why():
    only = report({"hot.json": sample.invalid_latency()})
    for suffix in (".md", ".csv", ".html"):
        document = render(only, suffix).decode()
        assert "INVALID" in document and "governor" in document
    assert "INVALID" not in render(report({"bench.json": sample.latency()}), ".html").decode()


NASTY = "=cmd|'/c calc'!A1 | <script>alert(1)</script> `x` [a](http://e.org) **b** \u202egnp.exe\n| x |"


def nasty():
    flip = msgspec.structs.replace(sample.accuracy().flips[0], image=NASTY, label=NASTY)
    return report({NASTY: sample.accuracy(flips=(flip,), notes=(NASTY,)),
                   f"@{NASTY}": sample.latency(valid=False, reasons=(NASTY,), notes=(NASTY,))})


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_takes_nothing_from_a_result_as_markup_and_loads_nothing():
    parser = Tags()
    parser.feed(render(nasty(), ".html").decode())
    assert parser.open == []
    assert not {"script", "a", "img", "link", "iframe", "object"} & {t for t, _ in parser.tags}
    for _, attributes in parser.tags:
        assert not any(k.startswith("on") or k in ("src", "href", "style") for k in attributes)


def test_csv_has_no_formula():
    for row in csv.reader(io.StringIO(render(nasty(), ".csv").decode())):
        for cell in row:
            try:
                float(cell)
            except ValueError:
                assert not cell.lstrip().startswith(("=", "+", "-", "@"))


def test_markdown_tables_keep_their_shape():
    blocks = [b.split("\n") for b in render(nasty(), ".md").decode().rstrip().split("\n\n") if b.startswith("|")]
    assert len(blocks) > 3
    for lines in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    document = render(nasty(), ".md").decode()
    assert "<script" not in document.replace("\\<", "") and "\u202e" not in document


@given(st.text())
def test_escapes_hold_for_any_text(value):
    assert re.search(r"(?<!\\)(?:\\\\)*[|<>`*_\[\]]", text.markdown(value)) is None
    assert not {"<", ">", '"', "'"} & set(text.html_text(value))
    assert "\n" not in text.markdown(value) + text.html_text(value) + text.csv_text(value)
    assert not text.csv_text(value).lstrip().startswith(("=", "+", "-", "@"))
    (text.markdown(value) + text.csv_text(value)).encode()


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=60))
def test_a_plot_is_well_formed_for_any_samples(samples):
    result = sample.latency(samples_ms=tuple(samples), sample_repeat=(0,) * len(samples),
                            repeats_ms=(tuple(samples),), p50_ms=samples[0], p90_ms=max(samples))
    root = ElementTree.fromstring(latency_svg("a & b", result))
    names = [e.tag.rpartition("}")[2] for e in root.iter()]
    assert names.count("circle") == len(samples) + 1  # and one in the legend
    for element in root.iter():
        for key in ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height"):
            if key in element.attrib:
                assert -1 <= float(element.attrib[key]) <= 761


def test_a_comparison_draws_one_curve_for_each_artifact():
    results = [("a & b", sample.latency()), ("<new>", sample.invalid_latency())]
    root = ElementTree.fromstring(comparison_svg("c", results))
    curves = [e.attrib["d"] for e in root.iter() if e.tag.endswith("path")]
    assert len(curves) == 2
    heights = [float(h) for h in re.findall(r"V([\d.]+)", curves[0])]
    assert heights == sorted(heights, reverse=True) and len(heights) == len(sample.latency().samples_ms) + 1
    assert {"a & b", "<new> INVALID"} <= {e.text for e in root.iter()}
    assert render(report(), ".html").count(b'class="curve"') == 2


def test_a_plot_of_many_samples_stays_small():
    many = tuple(float(i % 7) for i in range(50_000))
    result = sample.latency(samples_ms=many, sample_repeat=(0,) * len(many), repeats_ms=(many,))
    assert len(latency_svg("many", result)) < 300_000


def test_long_tables_say_what_they_leave_out():
    flips = sample.accuracy().flips * 205
    long = report({"validate.json": sample.accuracy(flips=flips)})
    for suffix in (".md", ".html"):
        assert "5 more rows are in the JSON and CSV reports." in render(long, suffix).decode()
    assert render(long, ".csv").count(b"photos/1.jpg") == 205


def write(path, result):
    path.write_bytes(encode_json(result))
    return path


def test_files_are_read_by_name(tmp_path):
    paths = [write(tmp_path / name, result) for name, result in sample.every().items()]
    assert list(load_results(paths).values()) == list(sample.every().values())


@pytest.mark.parametrize(("data", "message"), [
    (b"", "not a result"),
    (b"\xff\xfe", "not a result"),
    (b"[" * 100_000, "not a result"),
    (b"[]", "not a result"),
    (b"{}", "its kind is ''"),
    (b'{"kind": "divination", "format": 1}', "its kind is 'divination'; known are validate, bench"),
    (b'{"kind": "bench", "format": 2, "edgecls": "9.0"}', "result format 2 of edgecls 9.0; this version reads 1"),
    (b'{"kind": "bench"}', "result format 0"),
    (b'{"kind": "bench", "format": 1, "edgecls": "0.1.0"}', "not a bench result"),
])
def test_a_file_that_is_no_result_is_named(tmp_path, data, message):
    path = tmp_path / "wrong.json"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        load_results([path])
    assert "wrong.json" in caught.value.message and message in caught.value.message and caught.value.hint


def test_a_forged_time_is_refused(tmp_path):
    data = encode_json(sample.latency())
    bare = msgspec.structs.replace(sample.BOARD, governor=None, clocks_mhz=None, temperature_c=None, load=None)
    blank = encode_json(sample.latency(conditions=sample.conditions(bare)))
    with pytest.raises(DataError, match="a time measured under emulation is not a time"):
        parse_result(blank.replace(b'"emulated":false', b'"emulated":true'), "forged.json")
    for forged in (data.replace(b'"emulated":false', b'"emulated":true'),
                   data.replace(b'"samples_ms":[20.0', b'"samples_ms":[1.0'),
                   data.replace(b'"sample_repeat":[0', b'"sample_repeat":[7'),
                   data.replace(b'"p50_ms":20.375', b'"p50_ms":1e999'),
                   data.replace(b'"p50_ms":20.375', b'"p50_ms":20.375,"p51_ms":1')):
        assert forged != data
        with pytest.raises(DataError, match="not a bench result"):
            parse_result(forged, "forged.json")


def test_what_cannot_be_reported(tmp_path):
    path = write(tmp_path / "bench.json", sample.latency())
    with pytest.raises(DataError, match="is given twice"):
        load_results([path, path])
    with pytest.raises(DataError, match="no such file"):
        load_results([tmp_path])
    with pytest.raises(DataError, match=r"copy\.json: holds the same result as bench\.json"):
        build_report({"bench.json": sample.latency(), "copy.json": sample.latency()})
    check = CheckResult(artifact=sample.A, model="m.onnx", target="t", backend="tvm", supported=True, unsupported=())
    for name, result in (("check.json", check), ("report.json", Report(results=(), artifacts=()))):
        with pytest.raises(DataError, match=name):
            build_report({name: result})
    with pytest.raises(DataError, match="nothing to report"):
        build_report({})
    with pytest.raises(OutputError, match=r"'\.pdf'"):
        render(report(), ".pdf")


def test_results_go_by_their_file_name_as_long_as_it_tells_them_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first = write(tmp_path / "a/bench.json", sample.latency())
    second = write(tmp_path / "b/bench.json", sample.invalid_latency())
    third = write(tmp_path / "b/validate.json", sample.accuracy())
    assert list(load_results([first, second, third])) == [str(first), str(second), "validate.json"]


@pytest.mark.parametrize(("value", "text"), [(0.0104951, "0.01050"), (20.375, "20.38"), (123456.7, "123457"),
                                             (0.0, "0.000"), (1e-300, "0.000000000")])
def test_milliseconds_have_ms(value, text):
    assert _ms(value) == text
