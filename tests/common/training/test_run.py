"""A run from its options on: what may differ when it goes on."""

import pytest

from common.errors import UserError
from common.training import run


def test_a_changed_machine_is_noted(capsys, monkeypatch):
    now = {"versions": {"paddlepaddle": "3.3.1"}, "machine": {"threads": 2}}
    monkeypatch.setattr(run.runtime, "describe", lambda: now)
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
