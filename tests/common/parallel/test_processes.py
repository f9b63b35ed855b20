"""Which process does what, without starting several."""

import errno
import os
import signal
import sys
import threading
import time

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from common.backend import cuda, fast, runtime
from common.errors import RunStopped, UserError
from common.parallel import processes, watchdog
from common.parallel.sync_norm import SyncBatchNorm2D
from common.parallel.watch import Watch
from common.training import run
from dygraph_celeba.gan import RECIPE as FACES
from static_mnist import book


def of(monkeypatch, rank, count, count_here=None, rank_here=None):
    """Make this process one of several."""
    for name, value in {"rank": rank, "count": count, "count_here": count_here or count, "first": rank == 0,
                        "rank_here": rank if rank_here is None else rank_here}.items():
        monkeypatch.setattr(processes, name, value)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_a_whole_batch_and_weights_its_mean(count, monkeypatch):
    batch = np.arange(7.0)
    shares, weights = [], []
    for rank in range(count):
        of(monkeypatch, rank, count)
        shares.append(processes.share(batch))
        weights.append(processes.weight(7))
    np.testing.assert_array_equal(np.concatenate(shares), batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert np.mean([share.mean() * weight for share, weight in zip(shares, weights, strict=True)]) == batch.mean()


def test_a_kernel_without_pidfds_watches_nobody(monkeypatch):
    def refused(_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    assert not watchdog.possible()


def test_a_single_process_talks_to_nobody():
    layer = object()
    assert processes.parallel(layer) is layer and processes.weight(5) == 1
    assert processes.mean([1, 2], 1) == [1, 2] and processes.largest(3, True) == (3, True)
    processes.join(False)
    processes.meet()
    processes.leave()
    assert processes.watch is None and processes.waited() == 0


def test_cores_are_shared_out_on_each_machine(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 16)
    of(monkeypatch, 5, 8, 4, 1)
    assert runtime.fast_settings()["OMP_NUM_THREADS"] == "4"
    of(monkeypatch, 0, 32)
    assert runtime.fast_settings()["OMP_NUM_THREADS"] == "1"


def test_each_process_has_its_own_card(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle, "CUDAPlace", lambda number: f"card {number}")
    chosen = []
    monkeypatch.setattr(paddle, "set_device", chosen.append)
    monkeypatch.setattr(cuda, "check", lambda device: None)
    of(monkeypatch, 3, 4, 2, 1)
    assert runtime.place(True) == "card 1" and chosen == ["gpu:1"]
    monkeypatch.setenv("FLAGS_selected_gpus", "0")  # launch --devices 0
    assert runtime.place(True) == "card 0"
    of(monkeypatch, 2, 3)
    monkeypatch.delenv("FLAGS_selected_gpus")
    with pytest.raises(UserError, match="3 processes for 2 CUDA devices"):
        runtime.place(True)


def test_a_tutorial_of_one_process_refuses_several(monkeypatch):
    of(monkeypatch, 0, 2)
    with pytest.raises(UserError, match="book trains in one process"):
        run.join(book.RECIPE, None)


class Others:
    """In place of `Watch`: notes what this process claims."""

    def __init__(self, granted):
        self.granted, self.claims = granted, []

    def claim(self, code, reason):
        self.claims.append((code, str(reason)))
        return self.granted


@pytest.mark.parametrize("rank, granted, error, code, claims, said", [
    (0, True, UserError("no room"), 2, [(2, "no room")], "error: no room\n"),
    (1, True, UserError("no room"), 2, [(2, "no room")], "error: no room\n"),  # only process 1 has this error
    (1, False, UserError("no room"), 2, [(2, "no room")], ""),  # another process says it
    (1, True, RunStopped("stopped", 130), 130, [], ""),  # all stop together
    (0, True, RunStopped("stopped", 130), 130, [(130, "stopped")], "stopped\n"),
])
def test_one_process_says_why_all_end(rank, granted, error, code, claims, said, monkeypatch, capfd):
    def main():
        raise error

    of(monkeypatch, rank, 2)
    watch = Others(granted)
    watch.stop, watch.exit = lambda: None, lambda code: None
    monkeypatch.setattr(processes, "watch", watch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, open(1 if name == "stdout" else 2, "w", closefd=False))  # noqa: SIM115
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert processes.run_command(main) == code
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.stderr.flush()
    assert watch.claims == claims
    assert capfd.readouterr().err == said


def test_the_first_that_claims_says_why():
    """Two processes with a store that both see."""
    kept = {}

    class Store:
        def add(self, key, number):
            kept[key] = kept.get(key, 0) + number
            return kept[key]

        set = staticmethod(kept.__setitem__)

    watches = [Watch.__new__(Watch) for _ in range(2)]
    for watch in watches:
        watch.store, watch.lock, watch.machine = Store(), threading.Lock(), 0
    assert [watch.claim(2, reason) for watch, reason in zip(watches, ("no room", "no data"), strict=True)] == [
        True, False]
    assert (kept["ended"], kept["reason"]) == (2, "0 no room")
    kept.clear()
    assert watches[0].claim(2, "caf\udce9: no room")  # a name in another encoding, which Paddle's store would refuse
    assert kept["reason"].encode() == b"0 caf?: no room"


@pytest.mark.parametrize("fast_operators", ["1", "0"])
def test_batch_norm_over_processes_is_batch_norm_over_the_whole_batch(fast_operators, monkeypatch):
    """The other process's pictures come by way of `gathered` and `summed`, which only add up."""
    monkeypatch.setenv("GAN_FAST_OPS", fast_operators)
    random = np.random.RandomState(0)
    x = random.normal(3, 2, [5, 4, 3, 3]).astype("float32")
    sent = paddle.to_tensor(random.normal(size=x.shape).astype("float32"))
    whole = paddle.nn.BatchNorm2D(4, momentum=0.8)
    wanted = paddle.to_tensor(x, stop_gradient=False)
    (F.leaky_relu(whole(wanted), 0.2) * sent).sum().backward()

    # both processes' passes in turn: the first round finds out what each contributes, the second uses the sums
    parts, sums = (slice(0, 3), slice(3, 5)), []
    for final in (False, False, True):
        known, sums, results = sums, [], []
        for part in parts:
            calls = iter(range(9))

            def total(tensor, calls=calls, known=known, sums=sums):
                number = next(calls)
                sums.append((number, tensor.clone()))
                return sum((other for known_number, other in known if known_number == number), tensor * 0) + (
                    0 if known else tensor)

            def rows(tensor, total=total, first=part.start == 0):
                place = paddle.zeros([2, tensor.shape[0]])
                place[0 if first else 1] = tensor
                return total(place)

            monkeypatch.setattr(processes, "summed", total)
            monkeypatch.setattr(processes, "gathered", rows)
            layer = SyncBatchNorm2D(4, momentum=0.8)
            own = paddle.to_tensor(x[part], stop_gradient=False)
            y = fast.bn_leaky_relu(layer, own, 0.2)
            (y * sent[part]).sum().backward()
            results.append((layer, own, y))
        if final:
            np.testing.assert_allclose(np.concatenate([y.numpy() for _, _, y in results]),
                                       F.leaky_relu(whole(wanted), 0.2).numpy(), atol=1e-5)
            np.testing.assert_allclose(np.concatenate([own.grad.numpy() for _, own, _ in results]),
                                       wanted.grad.numpy(), atol=1e-5)
            for name in ("weight", "bias"):
                np.testing.assert_allclose(sum(getattr(layer, name).grad.numpy() for layer, _, _ in results),
                                           getattr(whole, name).grad.numpy(), rtol=1e-4, atol=1e-5)
            once = paddle.nn.BatchNorm2D(4, momentum=0.8)
            once(paddle.to_tensor(x))
            for layer, _, _ in results:
                for name in ("_mean", "_variance"):
                    np.testing.assert_allclose(getattr(layer, name).numpy(), getattr(once, name).numpy(), rtol=1e-5)


def test_sync_bn_off_leaves_each_process_its_own_statistics(monkeypatch):
    """As `make_gan` hands the option on; a run from before there was one has it on."""
    of(monkeypatch, 0, 2)
    monkeypatch.setattr(processes, "parallel", lambda network: network)
    for typed, kind in ({"sync_bn": "off"}, paddle.nn.BatchNorm2D), ({"sync_bn": "on"}, SyncBatchNorm2D), (
            {}, SyncBatchNorm2D):
        gan = FACES.make_gan({"options": {"fix": [], "seed": 0, **typed}}, paddle.CPUPlace())
        for network in gan.netD, gan.netG:
            norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
            assert len(norms) >= 3 and {type(layer) for layer in norms} == {kind}
