"""Multiplications, counted by hand."""

import paddle
from paddle import nn

from common.backend import cost


def test_multiplications_of_each_kind_of_layer():
    network = nn.Sequential(
        ("conv", nn.Conv2D(3, 8, 5, stride=2, padding=2)),  # 16 → 8
        ("bn", nn.BatchNorm2D(8)),
        ("act", nn.ReLU()),
        ("deconv", nn.Conv2DTranspose(8, 4, 4, stride=2, padding=1)),  # 8 → 16
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(4 * 16 * 16, 10)),
    )
    counted = cost.multiplications(network, paddle.zeros([2, 3, 16, 16]))
    assert counted == [8 * 8 * 8 * 3 * 25, 8 * 8 * 8 * 4 * 16, 1024 * 10]


def test_hooks_are_taken_away():
    network = nn.Sequential(nn.Linear(2, 3))
    first = cost.multiplications(network, paddle.zeros([1, 2]))
    network(paddle.zeros([5, 2]))
    assert first == [6]
    assert not network[0]._forward_post_hooks


def test_a_program_counts_as_well():
    paddle.enable_static()
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        x = paddle.static.data("x", [None, 1, 28, 28], "float32")
        assert cost.multiplications(nn.Sequential(nn.Conv2D(1, 2, 5)), x) == [24 * 24 * 2 * 25]
