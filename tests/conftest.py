"""Paddle is prepared once for all tests, as the commands prepare it: with its threads and quietly."""

import pytest

from common import runtime

runtime.prepare()


@pytest.fixture(autouse=True)
def dynamic_mode_after_all():
    """A test that builds programs leaves Paddle in its default mode."""
    yield
    import paddle

    paddle.disable_static()
