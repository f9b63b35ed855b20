"""A run from its options on: what may differ when it goes on."""

import pytest

from common.backend import fast
from common.errors import UserError
from common.training import run
from tests import helpers


def test_a_changed_machine_is_noted(capsys, monkeypatch):
    now = {"versions": {"paddlepaddle": "3.3.1"}, "machine": {"threads": 2}}
    monkeypatch.setattr(run.runtime, "describe", lambda: now)
    monkeypatch.setattr(fast, "working", lambda: False)  # they need not be compiled
    config = {"dataset": {"checksum": "a", "name": "MNIST", "source": "x"}, "versions": {"paddlepaddle": "3.3.1"},
              "machine": {"threads": 2}}
    description = {"checksum": "a", "name": "MNIST", "source": "y"}
    run.check_data("run", config, description)
    assert capsys.readouterr().err == ""
    config["machine"], config["versions"] = {"threads": 8}, {"paddlepaddle": "2.6.2"}
    run.check_data("run", config, description)
    first, second = capsys.readouterr().err.splitlines()
    assert "threads 8 when the run started, 2 now" in first
    assert "Paddle 2.6.2 when the run started, 3.3.1 now" in second
    config["machine"], config["versions"] = {"threads": 2, "arithmetic": "bfloat16"}, now["versions"]
    run.check_data("run", config, description)
    assert "arithmetic bfloat16 when the run started, float32 now" in capsys.readouterr().err
    now["versions"] = {"paddlepaddle-gpu": "3.3.1"}
    for before, notes in ((now["versions"], 0), ({"paddlepaddle-gpu": "2.6.2"}, 1), ({"paddlepaddle": "2.6.2"}, 1)):
        config["machine"], config["versions"] = now["machine"], before
        run.check_data("run", config, description)
        assert capsys.readouterr().err.count("Paddle 2.6.2 when the run started, 3.3.1 now") == notes
    with pytest.raises(UserError, match="these pictures are others"):
        run.check_data("run", config, {**description, "checksum": "b"})


@pytest.mark.parametrize(("before", "now", "note"), [
    (("avx2 avx512f", True), ("avx2 avx512f", True), ""), (("avx2", False), ("avx2 avx512f", False), ""),
    (("avx2 avx512f", True), ("avx2", True), "avx512f when the run started, avx2 now"),
    (("avx2", True), ("avx2", False), "avx2 when the run started, off now"),
    (("avx2", False), ("avx2", True), "off when the run started, avx2 now"),
    (None, ("avx2", True), ""),
])
def test_other_bits_of_the_fast_operators_are_noted(capsys, monkeypatch, before, now, note):
    def machine(flags, working):
        monkeypatch.setattr(run.runtime, "cpuinfo", lambda: f"flags\t: fpu {flags}\n")
        monkeypatch.setattr(fast, "working", lambda: working)
        return run.described()

    config = machine(*before or now) | {"dataset": {"checksum": "a"}}
    if before is None:  # a run of an earlier version
        del config["machine"]["fast operators"]
    machine(*now)
    run.check_data("run", config, {"checksum": "a"})
    told = capsys.readouterr().err
    assert told.count("note:") == bool(note) and f"fast operators {note}" * bool(note) in told


def test_the_operators_are_compiled_before_the_processes_meet(narrow, tmp_path, monkeypatch):
    """A compiler could take longer than the later exchanges between processes may."""
    order, working = [], fast.working
    monkeypatch.setattr(fast, "working", lambda: order.append("compiled") or working())
    monkeypatch.setattr(run.processes, "meet", lambda: order.append("met"))
    helpers.one_step("book", tmp_path / "run")
    assert "met" in order and order.index("compiled") < order.index("met")


def test_another_unit_for_products_in_16_bits_is_noted(capsys, monkeypatch):
    monkeypatch.setattr(fast, "_arithmetic", fast.BF16)
    monkeypatch.setattr(fast, "working", lambda: True)
    monkeypatch.setattr(run.runtime, "cpuinfo", lambda: "flags\t: avx2 avx512f amx_bf16\n")
    config = run.described() | {"dataset": {"checksum": "a"}}
    monkeypatch.setattr(run.runtime, "cpuinfo", lambda: "flags\t: avx2 avx512f\n")
    run.check_data("run", config, {"checksum": "a"})
    assert "fast operators amx_bf16 when the run started, avx512f now" in capsys.readouterr().err
