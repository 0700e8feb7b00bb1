"""The table says what was measured, what was wrong, and what could not run."""

from __future__ import annotations

from benchmarks.peers.engines import AGAIN, OURS, PEERS
from benchmarks.peers.figures import engine_figures, noise_band, ratios
from benchmarks.peers.host import COLUMNS
from benchmarks.peers.sections import sections


def engine(ms, difference=0.0):
    return engine_figures([[int(ms * 1e6)] * 3], [0], difference)


def row(network="net", threads=1, **more):
    engines = {OURS: engine(4, 1e-6), AGAIN: engine(4.1, 1e-6), "onnxruntime": engine(8), "openvino": engine(5, 1e-5),
               "mnn": engine(1, 0.5), "litert": {"not_run": "conversion: ended with status 1"}, **more}
    return {"network": network, "threads": threads, "engines": engines, "ratios": ratios(engines),
            "noise_band": noise_band(engines), "peers": {"openvino": "1.0", "MNN": "2.0"},
            "work": {"multiply_adds": 100_000_000, "weight_bytes": 2_000_000},
            "rates": [{"lanes": 8, "flops_per_s": 1e11, "read_bytes_per_s": 1e10}],
            "floors_ms": {"multiply_adds": 2.0, "weights": 0.2}, "valid": False, "reasons": ["busy", "hot"]}


def cells(found):
    return {column.title: str(column.cell(found)) for column in COLUMNS}


def test_a_row_has_every_engine_its_ratio_and_its_floors():
    found = cells(row())
    assert found["edgecls"] == "4.00 / 4.00"
    assert found["MNN"] == "1.00 / 1.00 WRONG"
    assert found["LiteRT"] == "not run"
    assert found["ncnn"] == "–"
    assert found["ratio"] == "0.80 / 0.80 (OpenVINO)"
    assert found["A/A"] == "2.5% / 2.5%"
    assert found["multiply-adds, million"] == "100"
    assert found["floors: FMA / weights, ms"] == "2.00 / 0.20"
    assert found["valid"] == "NO: busy; hot"


def test_a_row_without_edgecls_is_still_a_row():
    failed = {"not_run": "compiling: no"}
    found = cells(row(**{OURS: failed, AGAIN: failed}))
    assert (found["edgecls"], found["ratio"], found["A/A"]) == ("not run", "–", "–")


def test_sections_follow_with_ratios_speed_differences_and_what_did_not_run():
    text = "\n".join(sections([row(), row("other", openvino=engine(16)), row("third", threads=2),
                               row("vit_tiny", openvino=engine(8))]))
    assert "| net | 1 | 0.50 / 0.50 | 0.80 / 0.80 | 0.80 / 0.80 |" in text
    assert "| **geometric mean, convolutional** | 1 |  |  | 0.63 / 0.63 |" in text
    assert "| **geometric mean, convolutional** | 2 |  |  | 0.80 / 0.80 |" in text
    assert "| **geometric mean, attention** | 1 |" in text
    assert "| **geometric mean, attention** | 2 |" not in text
    assert "| net | 1 | 50% | 25% | 40% | – | 200% | – | 100.0 | 2.0 | 10.0 |" in text
    assert "| net | 1 | 1.0e-06 | 1.0e-06 | 0.0e+00 | 1.0e-05 | – | 5.0e-01 WRONG | – |" in text
    assert "- net, 1 thread(s), LiteRT: not run: conversion: ended with status 1" in text
    assert "- net, 1 thread(s), ncnn: not asked for (--engines)" in text
    assert "Peers: MNN 2.0, openvino 1.0." in text
    assert "not comparable WRONG" in "\n".join(sections([row(mnn=engine(1, None))]))


def test_there_is_nothing_to_say_of_no_rows():
    assert sections([])
    assert len(PEERS) == 5
