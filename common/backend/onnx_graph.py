"""A generator's static program as an ONNX graph, operator by operator.

Paddle's own converter, paddle2onnx, leaves the output size of transposed convolutions out, so that its pictures have
another size. Import this module only with the package onnx installed.
"""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from common.backend import compat

OPSET, IR_VERSION = 13, 8  # old enough for runtimes of 2021 and later
BATCH = "n"  # the name of the free number of pictures


def model(program, arrays, noise_shape, output_shape):
    """The ONNX model of a program that has the input ``noise``.

    Args:
        program: of `common.export.Drawing`; its last operator gives the pictures.
        arrays: the program's parameters, name → float32 array.
        noise_shape, output_shape: of one picture's noise, and of one picture.

    Returns:
        ``onnx.ModelProto`` with the input ``noise`` and the output ``images``.

    Raises:
        NotImplementedError: the program has an operator that no tutorial's generator has.
    """
    graph = Graph(arrays, noise_shape)
    for kind, inputs, output, shape, attributes in compat.operations(program):
        if not hasattr(graph, kind):
            raise NotImplementedError(f"{kind} has no counterpart in common/backend/onnx_graph.py yet")
        getattr(graph, kind)(inputs, output, shape, attributes)
        graph.shapes[output] = shape
    graph.node("Identity", [output], "images")
    made = helper.make_model(
        helper.make_graph(
            graph.nodes, "generator",
            [helper.make_tensor_value_info("noise", TensorProto.FLOAT, [BATCH, *noise_shape])],
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [BATCH, *output_shape])], graph.constants()),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="paddle-gan-tutorials")
    checker.check_model(made)
    return made


class Graph:
    """The nodes of a graph. A method is called as Paddle's operator, and adds the ONNX operators for it."""

    def __init__(self, arrays, noise_shape):
        self.arrays, self.nodes = dict(arrays), []
        self.shapes = {"noise": [-1, *noise_shape], **{name: list(array.shape) for name, array in arrays.items()}}

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def constant(self, array):
        """The name of a new constant."""
        name = f"constant_{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def constants(self):
        """The arrays that nodes use."""
        used = {name for node in self.nodes for name in node.input}
        return [numpy_helper.from_array(np.ascontiguousarray(array), name)
                for name, array in self.arrays.items() if name in used]

    # Paddle's operators

    def matmul(self, inputs, output, shape, attributes):
        self.node("MatMul", inputs, output)

    def add(self, inputs, output, shape, attributes):
        self.node("Add", inputs, output)

    def relu(self, inputs, output, shape, attributes):
        self.node("Relu", inputs, output)

    def tanh(self, inputs, output, shape, attributes):
        self.node("Tanh", inputs, output)

    def leaky_relu(self, inputs, output, shape, attributes):
        self.node("LeakyRelu", inputs, output, alpha=attributes["alpha"])

    def transpose(self, inputs, output, shape, attributes):
        self.node("Transpose", inputs, output, perm=attributes["axis"])

    def reshape(self, inputs, output, shape, attributes):
        self.node("Reshape", [inputs[0], self.constant(np.array(attributes["shape"], "int64"))], output)

    def flatten(self, inputs, output, shape, attributes):
        self.node("Reshape", [inputs[0], self.constant(np.array([-1, *shape[1:]], "int64"))], output)

    def scale(self, inputs, output, shape, attributes):
        factor, bias = (self.constant(np.array(attributes[name], "float32")) for name in ("scale", "bias"))
        self.node("Mul", [inputs[0], factor], f"{output}_product")
        self.node("Add", [f"{output}_product", bias], output)

    def batch_norm(self, inputs, output, shape, attributes):
        x, mean, variance, scale, bias = inputs
        self.node("BatchNormalization", [x, scale, bias, mean, variance], output, epsilon=attributes["epsilon"])

    def conv2d_transpose(self, inputs, output, shape, attributes):
        x, weight = inputs[:2]
        padding, strides = attributes["paddings"], attributes["strides"]
        top, bottom, left, right = padding if len(padding) == 4 else np.repeat(padding, 2).tolist()
        kernel = self.shapes[weight][2:]
        least = [(self.shapes[x][2 + i] - 1) * strides[i] + kernel[i] - pads
                 for i, pads in enumerate((top + bottom, left + right))]
        self.node("ConvTranspose", [x, weight], output, strides=strides, pads=[top, left, bottom, right],
                  output_padding=[shape[2 + i] - least[i] for i in (0, 1)])
