"""The time of each operator in an iteration, from Paddle's own profiler, and its bytes. This module imports Paddle."""

import json
import re
import tempfile
import time
from pathlib import Path

CUSTOM = "custom_op."  # so Paddle 3 names custom operators in a static program


def watch():
    """Count what operators read and write, and let the profiler see custom operators that a dynamic graph calls.

    By default the profiler records only their gradients. Call it before the operators are imported.

    Returns:
        `tools.bench.traffic.Traffic`.
    """
    import paddle
    from paddle.profiler import RecordEvent

    from common.backend import compat
    from tools.bench.traffic import Traffic

    traffic = Traffic(plain)

    def watched(run):
        def call(name, *args):
            with RecordEvent(CUSTOM + name):
                outputs = run(name, *args)
            if paddle.in_dynamic_mode():
                traffic.call(name, args, outputs)
            return outputs
        return call

    compat.CUSTOM._run_custom_op = watched(compat.CUSTOM._run_custom_op)
    return traffic


def profile(run, traffic):
    """Run once under the profiler.

    Args:
        run: the function that does the work.
        traffic: what `watch` returned.

    Returns:
        A dictionary: ``seconds`` of the whole run; ``operators``, name → [calls, seconds]; and ``bytes``, name → bytes
        read and written, where they are known. An operator's gradient has a name of its own.
    """
    from paddle.profiler import Profiler, ProfilerTarget

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler = Profiler(targets=[ProfilerTarget.CPU], on_trace_ready=lambda each: each.export(str(path), "json"))
        traffic.begin()
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
    known = {name: size for name, size in traffic.total().items() if name in operators}
    return {"seconds": seconds, "operators": operators, "bytes": known}


def plain(name):
    """An operator's name without the prefixes and suffixes of Paddle's versions and graphs.

    ``pd_op.relu_``, ``relu dygraph`` → ``relu``; ``Global_LeakyReluGradNode`` → ``leaky_relu_grad``;
    ``RunCustomOpNode: gan_conv_grad`` → ``gan_conv_grad``.
    """
    name = re.sub(r"\[.*\]$", "", name).rpartition(": ")[2]
    name = re.sub(r"^(pd_op|custom_op)\.|^(Global|Local)_| dygraph$|Node(Final)?$", "", name)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().rstrip("_")
