"""Weights of ONNX's recurrent operators, against ONNX Runtime."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import ragmask as rm
from tests.test_weights_onnx import CELLS, OF_CELLS, inputs_of


def run_onnx(name, inputs, x, lengths, attributes):
    """Outputs (steps, directions, rows, units) of a bidirectional operator."""
    arrays = {key: one.astype(np.float32) for key, one in inputs.items()}
    units = inputs["R"].shape[2]
    node = helper.make_node(
        name,
        ["X", "W", "R", "B", "lengths"],
        ["Y"],
        hidden_size=units,
        direction="bidirectional",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        name,
        [
            helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, lengths.shape),
        ],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(one, key) for key, one in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, {"X": x, "lengths": lengths})[0]


@OF_CELLS
@pytest.mark.parametrize("units", [3, 17])
def test_ragged_rows_are_onnx_runtimes(name, units):
    op, kind, _, attributes = CELLS[name]
    inputs = inputs_of(kind, 2, 4, units)
    rows = [np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32) for n in (5, 1, 8)]
    ragged = rm.Ragged.from_rows(rows)
    x = np.ascontiguousarray(ragged.to_padded().values.transpose(1, 0, 2))
    outputs = run_onnx(name, inputs, x, ragged.lengths.astype(np.int32), attributes)
    for direction in (0, 1):
        weights = kind.from_onnx(**inputs, direction=direction, **attributes)
        ours = op(ragged, weights, go_backwards=direction == 1).outputs
        for row, own in enumerate(ours):
            theirs = outputs[: len(own), direction, row]
            np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5)
