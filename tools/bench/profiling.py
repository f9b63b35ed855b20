"""The time of each operator in an iteration, from Paddle's own profiler. This module imports Paddle."""

import json
import re
import tempfile
import time
from pathlib import Path

CUSTOM = "custom_op."  # so Paddle 3 names custom operators in a static program


def watch_custom_operators():
    """Let the profiler see custom operators that a dynamic graph calls; by default it records only their gradients.

    Call it before the operators are imported.
    """
    import paddle
    from paddle.base import core
    from paddle.profiler import RecordEvent

    def watched(run):
        def call(name, *args):
            with RecordEvent(CUSTOM + name):
                return run(name, *args)
        return call

    for module in (paddle._C_ops, core.eager):  # Paddle 3 calls the first, 2.6 the second
        if hasattr(module, "_run_custom_op"):
            module._run_custom_op = watched(module._run_custom_op)


def profile(run):
    """Run once under the profiler.

    Returns:
        A dictionary: ``seconds`` of the whole run, and ``operators``, name → [calls, seconds]. An operator's gradient
        has a name of its own.
    """
    from paddle.profiler import Profiler, ProfilerTarget

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler = Profiler(targets=[ProfilerTarget.CPU], on_trace_ready=lambda each: each.export(str(path), "json"))
        profiler.start()
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        profiler.stop()
        events = json.loads(path.read_text())["traceEvents"]
    operators = {}
    for event in events:
        if event.get("ph") == "X" and (event["cat"] == "Operator" or event["name"].startswith(CUSTOM)):
            calls, before = operators.get(name := plain(event["name"]), (0, 0.0))
            operators[name] = calls + 1, before + event["dur"] / 1e6  # µs
    return {"seconds": seconds, "operators": operators}


def plain(name):
    """An operator's name without the prefixes and suffixes of Paddle's versions and graphs.

    ``pd_op.relu_``, ``relu dygraph`` → ``relu``; ``Global_LeakyReluGradNode`` → ``leaky_relu_grad``;
    ``RunCustomOpNode: gan_conv_grad`` → ``gan_conv_grad``.
    """
    name = re.sub(r"\[.*\]$", "", name).rpartition(": ")[2]
    name = re.sub(r"^(pd_op|custom_op)\.|^(Global|Local)_| dygraph$|Node(Final)?$", "", name)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().rstrip("_")
