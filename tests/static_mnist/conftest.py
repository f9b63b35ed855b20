"""What the tests of the recipes share."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.training import checkpoint
from static_mnist import train

TRAIN = Path(train.__file__)


@pytest.fixture
def killed_and_resumed(tmp_path):
    """Trains as told, twice: once through, once killed after the first checkpoint and resumed.

    The call wants the options without ``--output``, and patterns of files; it asserts that these files and the last
    checkpoint are the same in both runs, and returns the folder of the first.
    """
    def run_twice(options, *patterns):
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        train.main([*options, "--output", str(whole)])

        process = subprocess.Popen([sys.executable, TRAIN, *options, "--output", killed], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        while not checkpoint.listing(killed / "checkpoints"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        train.main(["--resume", "--output", str(killed)])  # knows its recipe and all its options

        for pattern in patterns:
            files = sorted(whole.glob(pattern))
            assert files, pattern
            for file in files:
                assert file.read_bytes() == (killed / file.relative_to(whole)).read_bytes(), file
        (arrays, record), (again, record_again) = (
            checkpoint.load(checkpoint.listing(run / "checkpoints")[-1]) for run in (whole, killed))
        assert record["random"] == record_again["random"]
        assert set(arrays) == set(again)
        assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
        return whole

    return run_twice
