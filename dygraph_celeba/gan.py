"""The tutorial dcgan_face: its loss, training step and pictures, sections 3.6, 4 and 6.

Read it beside the listing: its blocks come in its order, under its names. What stands elsewhere:

    2.1 the crop                common/crop.py
    3.1, 3.2 Dataset, loader    data.py
    3.3 to 3.5 networks         networks.py
    4 epochs, the loss curve    common/training/loop.py
    6 the single pictures       generate.py; common/training/sampling.py
    what is odd, each --fix     docs/fidelity.md, and RECIPE at the end
    published losses, figures   RECIPE at the end; ours beside them: docs/results.md
"""

from pathlib import Path

import numpy as np
import paddle
from paddle.nn import functional as F

from common import plotting
from common.backend import amp
from common.backend.adam import Adam
from common.backend.compat import scalar
from common.crop import Box
from common.data.datasets import NotThere
from common.files import absolute, exists, write_arrays
from common.gan import in_batches
from common.parallel import processes
from common.pictures.packed import open_packed
from common.recipe import LOCK, Curves, Figures, Layout, LossCurve, Oddity, Recipe, gone, other_pictures
from common.training.options import add_box
from dygraph_celeba.data import CELEBA_NAME, EMBEDDED_NAME, Faces, checksum, embedded_faces, img_dim, open_faces
from dygraph_celeba.dynamic_gan import DynamicGAN, averages_kept, frozen, passes
from dygraph_celeba.networks import G_DIMENSION, Discriminator, Generator

lr = 0.0002
beta1 = 0.5
beta2 = 0.999
real_label = 1.0
fake_label = 0.0

GRID = 100  # pictures in the tutorial's figure, ten by ten, and in the batch that it generates at the end
WORKERS = 2  # processes of its DataLoader


class FaceGAN(DynamicGAN):
    """Both networks, their optimisers, and one iteration of the tutorial's training loop.

    Args:
        place: ``CPUPlace`` or ``CUDAPlace``.
        fix: names of the oddities to mend, see `RECIPE`.
        seed: of the initial values.
        learning_rate, beta1: of Adam.
        batch_size: pictures in a batch of all processes together; a single process does not need it.
        sync_bn: whether batch norm's statistics are those of all processes' pictures.
    """

    losses = ("D-Loss", "G-Loss")
    record_every = 100
    curves = Curves("Generator and Discriminator Loss During Training.png",
                    title="Generator and Discriminator Loss During Training", xlabel="Number of Batch",
                    labels=("D Loss", "G Loss"))
    weights = "generator.safetensors"
    files = (curves.file, weights)
    parallel = True

    def __init__(self, place, fix=(), seed=0, learning_rate=lr, beta1=beta1, batch_size=None, sync_bn=True):
        if not paddle.in_dynamic_mode():
            paddle.disable_static(place)
        paddle.seed(seed)
        self.fix, self.batch_size, self.weight = fix, batch_size, 1
        self.betas = beta1, beta2
        self.loss = paddle.nn.BCELoss()
        self.netD = processes.parallel(Discriminator(fix, sync_bn))
        self.netG = processes.parallel(Generator(fix, sync_bn))
        self.optimizerD = Adam(learning_rate, beta1, beta2, parameters=self.netD.parameters())
        self.optimizerG = Adam(learning_rate, beta1, beta2, parameters=self.netG.parameters())
        self.scalers = {optimizer: amp.scaler() for optimizer in (self.optimizerD, self.optimizerG)}

    @classmethod
    def original(cls, place, batch_size):
        return cls(place, batch_size=batch_size)

    def noise(self, count, random):
        """Noise [count, 100, 1, 1], float32, from a ``numpy.random.RandomState``: N(0, 1), or as ``fix`` says."""
        shape = [count, G_DIMENSION, 1, 1]
        drawn = random.uniform(0, 1, shape) if "noise" in self.fix else random.standard_normal(shape)
        return drawn.astype("float32")

    def step(self, batch, random):
        """One iteration: D on reals, D on fakes, G once.

        Args:
            batch: real pictures [B, 3, 64, 64] in [0, 1], (C, W, H); of several processes each gets its share.
            random: ``numpy.random.RandomState`` of the noise.

        Returns:
            The losses of the whole batch by name. D-Loss is the sum of D's two.
        """
        count = len(batch) if processes.count == 1 else self.batch_size
        self.weight = processes.weight(count)
        with LOCK:  # another thread may draw from the same networks
            errD_real, errD_fake = self.train_discriminator(self.as_input(batch), self.noise(count, random))
            errG = []
            for _ in range(2 if "g_steps" in self.fix else 1):
                self.last_noise = self.noise(count, random)
                errG.append(self.train_generator(self.last_noise))
        errD_real, errD_fake, *errG = processes.mean([errD_real, errD_fake, *errG], self.weight)
        losses = {"D-Loss": errD_real + errD_fake, "G-Loss": errG[-1],
                  "D-Loss real": errD_real, "D-Loss fake": errD_fake}
        return losses if len(errG) == 1 else {**losses, "G-Loss first": errG[0]}

    def train_discriminator(self, real, noise):
        """Train D on real pictures and on the pictures that G draws from noise.

        Adam makes a step after each of the two losses; with the fix ``d_step`` one step on their sum.

        Args:
            real: this process's pictures, `as_input`, [b, 3, 64, 64].
            noise: of the whole batch, [B, 100, 1, 1]; this process takes its share.

        Returns:
            (loss on real pictures, loss on generated ones), float32, of this process's share.
        """
        with amp.cast():
            output = self.netD(real)
        errD_real = self.loss(output, paddle.full_like(output, real_label))
        if "d_step" not in self.fix:
            self.update(self.optimizerD, errD_real)

        with amp.cast():
            with paddle.no_grad():  # the listing's detach(), without recording what it throws away
                fake = self.netG(paddle.to_tensor(processes.share(noise)))
            output = self.netD(fake)
        errD_fake = self.loss(output, paddle.full_like(output, fake_label))
        self.update(self.optimizerD, errD_real + errD_fake if "d_step" in self.fix else errD_fake)
        return scalar(errD_real), scalar(errD_fake)

    def train_generator(self, noise):
        """Train G by one Adam step to draw pictures that D takes for real.

        Args:
            noise: of the whole batch, [B, 100, 1, 1]; this process takes its share.

        Returns:
            The loss, float32, of this process's share.
        """
        with frozen(self.netD):  # the listing computes the gradients of D's weights and throws them away
            with amp.cast():
                output = self.netD(self.netG(paddle.to_tensor(processes.share(noise))))
            errG = self.loss(output, paddle.full_like(output, real_label))
            self.update(self.optimizerG, errG)
        return scalar(errG)

    def update(self, optimizer, loss):
        """One Adam step down the gradient of ``loss``; of several processes, of the mean over all their pictures."""
        loss = loss if self.weight == 1 else loss * self.weight
        scaler = self.scalers[optimizer]
        scaler.scale(loss).backward()
        amp.step(scaler, optimizer)
        optimizer.clear_grad(set_to_zero=False)
        self.seen(loss)

    def as_input(self, batch):
        """A batch of the Dataset as the networks want it: [0, 1] and (C, W, H) unless ``fix`` says otherwise."""
        real = batch if isinstance(batch, paddle.Tensor) else paddle.to_tensor(batch)
        if "orientation" in self.fix:
            real = real.transpose([0, 1, 3, 2])
        return real * 2 - 1 if "data_range" in self.fix else real

    def as_pictures(self, generated):
        """The generator's output as upright pictures [n, 64, 64, 3] in [-1, 1].

        If it was trained on pictures in [0, 1], a negative number is no colour and becomes 0, as in the listing.
        """
        axes = (0, 2, 3, 1) if "orientation" in self.fix else (0, 3, 2, 1)
        pictures = generated.numpy().transpose(axes)
        return pictures if "data_range" in self.fix else np.where(pictures > 0, pictures, 0) * 2 - 1

    def sample(self, noise):
        """Pictures [n, 64, 64, 3] in [-1, 1] for noise [n, 100, 1, 1], with moving averages in batch norm."""
        with LOCK, self.mode():
            self.netG.eval()
            try:
                with paddle.no_grad():
                    return self.as_pictures(self.netG(paddle.to_tensor(noise)))
            finally:
                self.netG.train()

    def sample_in_training(self, noise):
        """`sample` with the batch's own statistics in batch norm; this call **updates the moving averages**.

        The listing draws its pictures this way, during training and at the end.
        """
        with LOCK, self.mode(), paddle.no_grad(), processes.apart():
            return self.as_pictures(self.netG(paddle.to_tensor(noise)))

    def message(self, epoch, batch, losses):
        """The title of the tutorial's picture."""
        return (f"Epoch ID={epoch} Batch ID={batch} \n\n "
                f"D-Loss={losses['D-Loss']} G-Loss={losses['G-Loss']}")

    def draw(self, path, title, real, generated):
        """The tutorial's picture: ten by ten, from the last training noise unless ``fix`` says constant noise."""
        if "fixed_noise" not in self.fix:
            generated = self.sample_in_training(self.last_noise)
        picture = plotting.tile(generated[:GRID], 10, 10, pad=6, pad_value=1.0)
        plotting.save_figure(path, picture, title, inches=15, fontsize=20)

    def end_epoch(self, folder):
        """Write the generator's weights and moving averages, under the names of its ``state_dict``."""
        arrays = {name: np.array(value.numpy()) for name, value in self.netG.state_dict().items()}
        write_arrays(folder / self.weights, arrays)

    # Section 6: prediction

    def new_pictures(self, count, random, labels=None):
        """``count`` pictures, drawn in hundreds as in the listing: batch norm uses the statistics of each hundred.

        With the fix ``fixed_noise`` it uses moving averages, so that a picture depends only on its own noise. The
        moving averages stay as they are, so that the pictures do not depend on what was drawn before.
        """
        if "fixed_noise" in self.fix:
            return in_batches(self.sample, self.noise(count, random), GRID), None
        whole = -(-count // GRID) * GRID
        with LOCK, averages_kept(self.netG):
            return in_batches(self.sample_in_training, self.noise(whole, random), GRID)[:count], None

    # Not in the tutorial

    def network(self, noise):
        """See `common.gan.GAN.network`; the pictures are those of `as_pictures`."""
        generator = Generator(self.fix)
        generator.eval()
        pictures = generator(noise).transpose([0, 2, 3, 1] if "orientation" in self.fix else [0, 3, 2, 1])
        arrays = self.netG.state_dict()
        return (pictures if "data_range" in self.fix else F.relu(pictures) * 2 - 1,
                {parameter.name: arrays[name].numpy() for name, parameter in generator.state_dict().items()})

    def noise_code(self):
        """See `common.gan.GAN.noise_code`."""
        return f"random.{'uniform(0, 1, ' if 'noise' in self.fix else 'standard_normal('}[n, {G_DIMENSION}, 1, 1])"

    def networks(self):
        return ("D", self.netD, self.optimizerD), ("G", self.netG, self.optimizerG)

    def random_batch(self, count, random):
        """Pictures [count, 3, 64, 64] in [0, 1), float32."""
        return random.uniform(0, 1, [count, 3, img_dim, img_dim]).astype("float32")

    def flop(self, batch_size):
        """Floating-point operations of one `step`, counted from the shapes of the convolutions."""
        g, d = passes(self.netG, [G_DIMENSION, 1, 1]), passes(self.netD, [3, img_dim, img_dim])
        g_steps = 2 if "g_steps" in self.fix else 1
        return 2 * batch_size * (g.forward + 2 * d.trained + g_steps * (g.trained + d.through))


# What is known of the tutorial beside its text


def box(options):
    """The `Box` of the options; the tutorial's in a run from before it was an option."""
    return Box(**{name: options.get(name, getattr(Box, name)) for name in ("x", "y", "size")})


class CelebA(Recipe):
    """The tutorial's data."""

    embedded = "faces"

    @property
    def description(self):
        return super().description + (
            " Without CelebA at hand it trains on 100 small faces that come with scikit-image.")

    def add_options(self, parser):
        add = parser.add_argument
        add("--dataset", choices=["auto", "celeba", "faces"], default="auto",
            help="auto: CelebA if it is there, else the embedded faces; celeba: nothing else")
        add("--data_dir", type=absolute, metavar="PATH",
            help="folder of pictures of any size, with its sub-folders; a zip or tar archive, as img_align_celeba.zip; "
                 "or a packed .npy (default: work/imgs, or img_align_celeba or its .zip, in work or here)")
        add("--reader", choices=["packed", "skimage"], default="packed",
            help=f"packed: all pictures in one array; skimage: the tutorial's Dataset, {WORKERS} workers")
        add_box(parser, ", and a square of another size is scaled to 64")
        add("--sync_bn", choices=["on", "off"], nargs="?", const="on", default="on",
            help="of several processes, on: batch norm uses the statistics of the whole batch, so that the numbers are "
                 "those of one process; off: each process those of its own pictures")

    def defaults(self, options):
        return {"epoch": 8} if "epochs" in options["fix"] else super().defaults(options)

    def fault(self, options):
        if options["dataset"] == "faces" and options["data_dir"] and not options["resume"]:
            return "--dataset faces and --data_dir exclude each other"
        if options["reader"] == "skimage" and box(options) != Box():
            return "--x, --y and --size are not for --reader skimage, whose pictures are cropped already"
        return super().fault(options)

    def open_data(self, options):
        if options["resume"] and options["data_dir"] and not exists(options["data_dir"]):
            raise gone(options["data_dir"])
        dataset, description = open_faces(options["dataset"], options["data_dir"], options["reader"], box(options),
                                          write=not options["dry_run"])
        workers = WORKERS if options["reader"] == "skimage" else 0
        return Faces(dataset, options["batch_size"], options["seed"], workers), description

    def data_kind(self, config):
        return "celeba" if config["dataset"]["name"] in (CELEBA_NAME, EMBEDDED_NAME) else "folder"

    def real(self, config, split, data_dir=None):
        if split == "test":
            raise NotThere("the faces have no test part")
        dataset = config["dataset"]
        embedded = dataset["name"] == EMBEDDED_NAME
        if not (embedded or data_dir or exists(Path(dataset["source"]))):
            raise gone(dataset["source"])
        packed = open_packed(data_dir or (embedded_faces() if embedded else dataset["source"]),
                             box=box(config["options"]))
        if config["options"]["reader"] == "packed":  # skimage's checksum is one of files
            found = checksum(packed.names, lambda number: packed[number].tobytes())
            if found != dataset["checksum"]:
                raise other_pictures(packed.source)
        return packed, None

    def make_gan(self, config, place, fix=()):
        options = config["options"]
        return FaceGAN(place, [*options["fix"], *fix], options["seed"], **self.adam(options),
                       batch_size=options.get("batch_size"), sync_bn=options.get("sync_bn") != "off")


RECIPE = CelebA(
    name="faces",
    title="the DCGAN of the tutorial dcgan_face on CelebA's faces",
    gan=FaceGAN,
    epoch=5,
    batch_size=128,
    learning_rate=lr,
    beta1=beta1,
    output="work/Output",
    data=("CelebA",),
    oddities=(
        Oddity("data_range", "training pictures lie in [-1, 1], the range of tanh, not in [0, 1]",
               "sections 3.1, 3.5, 4"),
        Oddity("orientation", "pictures are (C, H, W), not (C, W, H)", "section 3.1"),
        Oddity("bn_momentum", "batch norm's momentum is 0.5, as the prose says, not 0.8", "sections 3.4, 3.5",
               measured=False),
        Oddity("noise", "noise is uniform in 0..1, as the prose says, not N(0, 1)", "sections 3.5, 4"),
        Oddity("d_step", "D makes one step an iteration, on the sum of both losses, as the prose says, not one on each",
               "section 4"),
        Oddity("g_steps", "G makes two steps an iteration, as the prose says, not one", "section 4"),
        Oddity("two_outputs", "D has two output neurons, as the prose says, not one", "section 3.4"),
        Oddity("epochs", "8 epochs unless --epoch says otherwise, as the prose says, not 5", "section 4",
               measured=False),
        Oddity("fixed_noise", "pictures are drawn from constant noise with moving averages in batch norm, not from the "
               "last training noise with that batch's own statistics", "sections 4, 6"),
    ),
    picture=Layout(cell=(64, 64), gap=6),
    figures=Figures(
        "PaddlePaddle/book", "paddle2.0_docs/dcgan_face/images/", (
            "2141339d8e6877c226f7eae570402a5f88f96b6b", "afc9b77a1830cef028d36f48434a1c3d3ac0ae55"),
        {"face_image1.jpeg": "9c5eb9ad5a32d7ce7d6cd87b512000ac",
         "face_image2.jpeg": "1918f42533cad35b31c939858f3e81ca"},
        data=("celeba",),
        layouts={"face_image1.jpeg": Layout(10, 10, real=1.0), "face_image2.jpeg": Layout(10, 10)},
        numbers={"sharpness": (0.01591, 0.01482), "contrast": (61.36, 61.56), "brightness": (109.8, 111.6)},  # at 64×64
    ),
    # Read off loss.png. From about batch 40 to 300 D wins outright. Later, apart from spikes, G's loss goes through
    # about 3.6 … 6.9 within any ten batches, and D's loss through about 0.3 … 1.1.
    published=(LossCurve("G-Loss", highest=39.0, first=15.0, settled=300, losses={"G-Loss": 5.0, "D-Loss": 0.5},
                         options={"batch_size": 128}),),
)
