"""The networks of dcgan_face against the listing's numbers."""

import numpy as np
import paddle
import pytest

from dygraph_celeba.gan import FaceGAN
from dygraph_celeba.networks import Discriminator, Generator


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


def outputs(network, x):
    """name → shape of what each convolution puts out."""
    shapes = {}
    for name, layer in network.named_sublayers():
        if name.startswith("conv"):
            layer.register_forward_post_hook(
                lambda _layer, _inputs, output, name=name: shapes.update({name: list(output.shape)}))
    result = network(x)
    return shapes, result


def test_discriminator_shapes():
    shapes, result = outputs(Discriminator(), paddle.rand([2, 3, 64, 64]))
    assert shapes == {"conv_1": [2, 64, 32, 32], "conv_2": [2, 128, 16, 16], "conv_3": [2, 256, 8, 8],
                      "conv_4": [2, 512, 4, 4], "conv_5": [2, 1, 1, 1]}
    assert list(result.shape) == [2, 1, 1, 1]
    assert float(result.min()) > 0 and float(result.max()) < 1


def test_generator_shapes():
    shapes, result = outputs(Generator(), paddle.randn([2, 100, 1, 1]))
    assert shapes == {"conv_1": [2, 512, 4, 4], "conv_2": [2, 256, 8, 8], "conv_3": [2, 128, 16, 16],
                      "conv_4": [2, 64, 32, 32], "conv_5": [2, 3, 64, 64]}
    assert -1 <= float(result.min()) < 0 < float(result.max()) <= 1


def test_parameter_names_are_the_listings():
    def names(network):
        return sorted(p.name.rpartition("_")[0] for key, p in network.named_parameters()
                      if key.endswith(".weight"))

    assert names(Discriminator()) == sorted(
        [f"d_conv_weight_{i}_" for i in range(1, 6)] + [f"d_{i}_bn_weight_" for i in (2, 3, 4)])
    assert names(Generator()) == sorted(
        [f"g_dconv_weight_{i}_" for i in range(1, 6)] + [f"g_{i}_bn_weight_" for i in (1, 2, 3, 4)])


@pytest.mark.parametrize("make", [Discriminator, Generator])
def test_initial_values(make):
    for name, value in make().state_dict().items():
        value = value.numpy()
        mean, deviation = {"weight": (0, 0.02), "bias": (0, 0), "_mean": (0, 0), "_variance": (1, 0)}[
            name.split(".")[1]]
        if name.startswith("bn") and name.endswith(".weight"):
            mean = 1
        spread = 4 / np.sqrt(value.size)
        assert abs(value.mean() - mean) <= deviation * spread, name
        assert abs(value.std() - deviation) <= deviation * spread, name
        assert not (name.startswith("conv") and name.endswith(".bias")), "no bias in convolutions"


def test_two_networks_in_one_process_have_their_own_weights():
    one, two = Generator(), Generator()
    names = [p.name for network in (one, two) for p in network.parameters()]
    assert len(set(names)) == len(names)
    one.conv_1.weight.set_value(paddle.zeros_like(one.conv_1.weight))
    assert float(two.conv_1.weight.abs().sum()) > 0


@pytest.mark.parametrize("fix, momentum", [((), 0.8), (("bn_momentum",), 0.5)])
def test_batch_norm_momentum(fix, momentum):
    discriminator, generator = Discriminator(fix), Generator(fix)
    x = paddle.rand([4, 3, 64, 64])
    seen = {}
    discriminator.conv_2.register_forward_post_hook(
        lambda _layer, _inputs, output: seen.update(D=output.numpy().mean((0, 2, 3))))
    generator.conv_1.register_forward_post_hook(
        lambda _layer, _inputs, output: seen.update(G=output.numpy().mean((0, 2, 3))))
    discriminator(x)
    generator(paddle.randn([4, 100, 1, 1]))
    np.testing.assert_allclose(discriminator.bn_2._mean.numpy(), (1 - momentum) * seen["D"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(generator.bn_1._mean.numpy(), (1 - momentum) * seen["G"], rtol=1e-3, atol=1e-6)


def test_two_outputs_are_the_probabilities_of_fake_and_real():
    d = Discriminator(("two_outputs",))
    shapes, result = outputs(d, paddle.rand([2, 3, 64, 64]))
    assert shapes["conv_5"] == [2, 2, 1, 1] and list(result.shape) == [2, 1, 1, 1]
    logits = {}
    d.conv_5.register_forward_post_hook(lambda _layer, _inputs, output: logits.update(x=output.numpy()))
    d.eval()
    real = d(paddle.rand([2, 3, 64, 64])).numpy().ravel()
    fake, true = np.exp(logits["x"]).reshape(2, 2).T
    np.testing.assert_allclose(real, true / (fake + true), rtol=1e-5)


def test_cost_is_that_of_the_layers():
    gan = FaceGAN(paddle.CPUPlace())
    before = gan.state()
    assert gan.sizes() == {"D": 2_765_568, "G": 3_576_704}
    # multiplications a picture: 4·4 · channels in · channels out · pixels, of the smaller side
    d = [16 * a * b * n * n for a, b, n in ((3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 512, 4), (512, 1, 1))]
    g = [16 * a * b * n * n for a, b, n in ((100, 512, 1), (512, 256, 4), (256, 128, 8), (128, 64, 16), (64, 3, 32))]
    forward_d, forward_g = sum(d), sum(g)
    expected = forward_g + 2 * (3 * forward_d - d[0]) + 3 * forward_g - g[0] + 2 * forward_d
    assert gan.flop(128) == 2 * 128 * expected
    assert FaceGAN(paddle.CPUPlace(), ["g_steps"]).flop(1) - gan.flop(1) == 2 * (3 * forward_g - g[0] + 2 * forward_d)
    after = gan.state()
    assert all(np.array_equal(before[name], after[name]) for name in after)
