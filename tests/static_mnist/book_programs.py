"""What the tests of the book's GAN share: its arrays, inputs, and single runs of its programs."""

import numpy as np

BATCH = 8
NETWORKS = {
    "D": {"conv1w": [64, 1, 5, 5], "conv1b": [64], "conv2w": [128, 64, 5, 5], "conv2b": [128],
          "bn11": [128], "bn12": [128], "fc1w": [2048, 1024], "fc1b": [1024],
          "bn21": [1024], "bn22": [1024], "fc2w": [1024, 1], "fc2b": [1]},
    "G": {"fc3w": [100, 2048], "fc3b": [2048], "bn31": [2048], "bn32": [2048], "fc4w": [2048, 6272],
          "fc4b": [6272], "bn41": [6272], "bn42": [6272], "deconv1w": [128, 128, 5, 5], "deconv1b": [128],
          "deconv2w": [128, 1, 5, 5], "deconv2b": [1]},
}
STATISTICS = {"D": {"bn13": [128], "bn14": [128], "bn23": [1024], "bn24": [1024]},
              "G": {"bn33": [2048], "bn34": [2048], "bn43": [6272], "bn44": [6272]}}


def pictures(count=BATCH, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, [count, 784]).astype("float32")


def noise(count=BATCH, seed=1):
    return np.random.RandomState(seed).uniform(-1, 1, [count, 100]).astype("float32")


def label(value, count=BATCH):
    return np.full([count, 1], value, "float32")


def d_step(gan, img, real):
    [loss] = gan.run(gan.d_program, {"img": img, "label": label(real, len(img))}, [gan.d_loss])
    return float(np.array(loss))


def dg_step(gan, z):
    [loss] = gan.run(gan.dg_program, {"noise": z}, [gan.dg_loss])
    return float(np.array(loss))


def moved(gan, action):
    """The names of the state's arrays that ``action`` changes by as much as a bit."""
    before = gan.state()
    action()
    return {name for name, array in gan.state().items() if array.tobytes() != before[name].tobytes()}


def recorded_step(gan, batch, random):
    """One step, and its runs: (program, fed arrays, fetched arrays), copied at once."""
    runs = []
    run = type(gan).run

    def record(program, feed, fetch):
        fed = {name: np.array(value) for name, value in feed.items()}
        fetched = run(gan, program, feed, fetch)
        runs.append((program, fed, [np.array(value) for value in fetched]))
        return fetched

    gan.run = record
    try:
        return gan.step(batch, random), runs
    finally:
        del gan.run
