"""The two networks of the tutorial dcgan_face, sections 3.3 to 3.5.

Pictures are (C, W, H), as the tutorial's Dataset gives them, so the shapes below read [B, C, W, H]. Each layer of the
discriminator but the last halves width and height. Each layer of the generator but the first doubles them.
"""

import paddle
from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn.initializer import Normal

from common.backend import compat, fast
from common.parallel import processes
from common.parallel.sync_norm import SyncBatchNorm2D

conv_initializer = Normal(mean=0.0, std=0.02)
bn_initializer = Normal(mean=1.0, std=0.02)

G_DIMENSION = 100  # numbers in the noise of one picture


def attribute(name, initializer):
    """Name and initial values of a weight. The name gets a number: a process can use each name only once."""
    return ParamAttr(name=compat.parameter_name(name), initializer=initializer)


def conv(in_channels, out_channels, stride, padding, name):
    """4×4 convolution without bias."""
    return fast.Conv2D(in_channels, out_channels, 4, stride, padding, bias_attr=False,
                       weight_attr=attribute(name, conv_initializer))


def deconv(in_channels, out_channels, stride, padding, name):
    """4×4 transposed convolution without bias."""
    return fast.Conv2DTranspose(in_channels, out_channels, 4, stride, padding, bias_attr=False,
                                weight_attr=attribute(name, conv_initializer))


def bn(channels, name, fix, sync):
    """Batch normalisation. The moving averages keep 0.8 of their value at each batch; 0.5 in the prose.

    With several processes its statistics are those of the whole batch, unless ``sync`` is False.
    """
    layer = SyncBatchNorm2D if sync and processes.count > 1 else nn.BatchNorm2D
    return layer(channels, momentum=0.5 if "bn_momentum" in fix else 0.8,
                 weight_attr=attribute(name, bn_initializer))


class Discriminator(paddle.nn.Layer):
    """Pictures [B, 3, 64, 64] to the probability [B, 1, 1, 1] that each is real.

    Args:
        fix: ``bn_momentum`` is 0.5; ``two_outputs`` has an output for each of the labels fake and real, with a
            softmax over the two, as the prose says.
        sync: see `bn`.
    """

    def __init__(self, fix=(), sync=True):
        super().__init__()
        self.two_outputs = "two_outputs" in fix
        self.conv_1 = conv(3, 64, 2, 1, "d_conv_weight_1_")
        self.conv_2 = conv(64, 128, 2, 1, "d_conv_weight_2_")
        self.bn_2 = bn(128, "d_2_bn_weight_", fix, sync)
        self.conv_3 = conv(128, 256, 2, 1, "d_conv_weight_3_")
        self.bn_3 = bn(256, "d_3_bn_weight_", fix, sync)
        self.conv_4 = conv(256, 512, 2, 1, "d_conv_weight_4_")
        self.bn_4 = bn(512, "d_4_bn_weight_", fix, sync)
        self.conv_5 = conv(512, 2 if self.two_outputs else 1, 1, 0, "d_conv_weight_5_")

    def forward(self, x):
        x = fast.leaky_relu(self.conv_1(x), 0.2)                # [B, 64, 32, 32]
        x = fast.bn_leaky_relu(self.bn_2, self.conv_2(x), 0.2)  # [B, 128, 16, 16]
        x = fast.bn_leaky_relu(self.bn_3, self.conv_3(x), 0.2)  # [B, 256, 8, 8]
        x = fast.bn_leaky_relu(self.bn_4, self.conv_4(x), 0.2)  # [B, 512, 4, 4]
        x = self.conv_5(x)                                      # [B, 1, 1, 1]
        if self.two_outputs:                                    # [B, 2, 1, 1]
            return F.softmax(x, axis=1)[:, 1:]
        return F.sigmoid(x)


class Generator(paddle.nn.Layer):
    """Noise [B, 100, 1, 1] to pictures [B, 3, 64, 64] in [-1, 1].

    Args:
        fix: ``bn_momentum`` is 0.5.
        sync: see `bn`.
    """

    def __init__(self, fix=(), sync=True):
        super().__init__()
        self.conv_1 = deconv(G_DIMENSION, 512, 1, 0, "g_dconv_weight_1_")
        self.bn_1 = bn(512, "g_1_bn_weight_", fix, sync)
        self.conv_2 = deconv(512, 256, 2, 1, "g_dconv_weight_2_")
        self.bn_2 = bn(256, "g_2_bn_weight_", fix, sync)
        self.conv_3 = deconv(256, 128, 2, 1, "g_dconv_weight_3_")
        self.bn_3 = bn(128, "g_3_bn_weight_", fix, sync)
        self.conv_4 = deconv(128, 64, 2, 1, "g_dconv_weight_4_")
        self.bn_4 = bn(64, "g_4_bn_weight_", fix, sync)
        self.conv_5 = deconv(64, 3, 2, 1, "g_dconv_weight_5_")
        self.tanh = nn.Tanh()

    def forward(self, x):
        x = fast.bn_relu(self.bn_1, self.conv_1(x))  # [B, 512, 4, 4]
        x = fast.bn_relu(self.bn_2, self.conv_2(x))  # [B, 256, 8, 8]
        x = fast.bn_relu(self.bn_3, self.conv_3(x))  # [B, 128, 16, 16]
        x = fast.bn_relu(self.bn_4, self.conv_4(x))  # [B, 64, 32, 32]
        return self.tanh(self.conv_5(x))             # [B, 3, 64, 64]
