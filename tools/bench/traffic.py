"""The bytes that operators read and write in an iteration: the sizes of their inputs and outputs.

An array that an operator reads and writes counts twice. What stays in a cache between two operators counts, too, so the
bytes a second can be more than the memory has. This module imports Paddle.
"""

from collections import Counter
from math import prod

import numpy as np
import paddle

from common.backend import compat

WIDTH = {"bool": 1, "uint8": 1, "int8": 1, "float16": 2, "bfloat16": 2, "int32": 4, "float32": 4, "int64": 8,
         "float64": 8}  # bytes


class Traffic:
    """What has run since `begin`: programs of the static graph, and custom operators of the dynamic graph.

    Args:
        plain: function from an operator's name to the name in the table.
    """

    def __init__(self, plain):
        self.plain = plain
        self.begin()
        run = paddle.static.Executor.run

        def watched(executor, program=None, feed=None, **options):
            batch = [len(each) for each in (feed or {}).values() if isinstance(each, np.ndarray)]
            if batch:  # else it is the startup
                self.programs.append((program, batch[0]))
            return run(executor, program, feed, **options)

        paddle.static.Executor.run = watched

    def begin(self):
        """Forget all."""
        self.programs, self.bytes = [], Counter()

    def call(self, name, inputs, outputs):
        """Count a custom operator of the dynamic graph, and its gradient's operator.

        The gradient's operator reads the inputs and the gradient of the first output, and writes the gradients of the
        inputs.
        """
        read = [each for each in inputs if isinstance(each, paddle.Tensor)]
        self.bytes[name] += sum(map(size, [*read, *outputs]))
        if not outputs[0].stop_gradient:
            trained = [each for each in read if not each.stop_gradient]
            self.bytes[f"{name}_grad"] += sum(map(size, [*read, outputs[0], *trained]))

    def total(self):
        """Name of an operator → bytes."""
        for program, batch in self.programs:
            for name, values in compat.tensors(program):
                self.bytes[self.plain(name)] += sum(size(value, batch) for value in values)
        self.programs = []
        return dict(self.bytes)


def size(value, batch=1):
    """The bytes of a tensor, or of a program's variable for ``batch`` pictures."""
    shape = [batch if side == -1 else side for side in value.shape]
    return prod(shape) * WIDTH[str(value.dtype).rpartition(".")[2].lower()]
