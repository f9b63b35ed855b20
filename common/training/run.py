"""Train: the whole run, from the options to the last picture."""

import sys
import time
from pathlib import Path

import numpy as np

from common.backend import runtime
from common.errors import UserError
from common.parallel import processes
from common.recipe import same_pictures
from common.training.dry_run import dry_run
from common.training.loop import Loop
from common.training.options import KEPT, jsonable
from common.training.run_folder import VISUALDL, RunFolder, SilentFolder


def train(recipe, args, report=None):
    """Train a tutorial.

    Args:
        recipe: `common.recipe.Recipe`.
        args: the recipe's options, see `common.training.options.read`.
        report: function that is called with the run's folder after the last picture.

    Raises:
        UserError: the data are missing or the folder cannot be used; `RunStopped`: the run ended early.
    """
    from common.backend import fast

    place = runtime.place(args.use_gpu)
    if processes.count > 1:
        join(recipe, args)
    with processes.first_here_first("data"):
        data, dataset = recipe.open_data(vars(args))
        multiply_in_16_bits(args, dataset)
    if args.batch_size > dataset["pictures"]:
        raise UserError(f"--batch_size {args.batch_size} is more than there are pictures: {dataset['pictures']} "
                        f"of {dataset['name']} in {dataset['source']}; choose a smaller one")
    if not args.resume:
        refuse_data_folder(args.output, dataset["source"])
    if args.dry_run:
        dry_run(args, data, dataset, recipe.make_gan({"options": vars(args), "dataset": dataset}, place))
        return
    log_writer = visualdl() if args.visualdl and processes.first else None
    of_process = RunFolder if processes.first else SilentFolder
    folder = of_process(args.output, args.resume, args.overwrite, recipe.gan.files)
    fast.working()  # compiles the operators now, because the exchanges after `meet` have a time limit
    processes.meet()  # by now the first process has locked the folder, or has said why it cannot
    try:
        loop = prepare(recipe, args, data, dataset, folder, place, report)
        if log_writer:  # only now: a refused run leaves no log
            loop.writer = log_writer(logdir=str(args.output / VISUALDL))
        loop.run()
        if processes.first:
            recipe.end(vars(args), folder.metrics())
        processes.leave()
    finally:
        folder.close()


def join(recipe, args):
    """Connect the processes of this run.

    Raises:
        UserError: the tutorial trains in one process, or there are more processes than pictures in a batch.
    """
    if not recipe.gan.parallel:
        raise UserError(f"the recipe {recipe.name} trains in one process; start it without paddle.distributed.launch")
    if args.batch_size < processes.count:
        raise UserError(f"--batch_size {args.batch_size} is less than the {processes.count} processes; "
                        "choose a larger one, or fewer processes")
    processes.join(args.use_gpu)


def refuse_data_folder(output, source):
    """Refuse to train into the folder of the data: the run's pictures would become data.

    Raises:
        UserError: both are the same folder.
    """
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise UserError(f"{output} holds the pictures to train on; choose another --output")


def multiply_in_16_bits(args, dataset):
    """Multiply in 16 bits if ``--amp`` asks for it: bfloat16 on a CPU that can, float16 on a GPU. Titles say so.

    Raises:
        UserError: the GPU is too old.
    """
    from common.backend import amp, fast

    amp.use(args.amp and args.use_gpu)
    if fast.use_bf16(args.amp and not args.use_gpu) or amp.on:
        dataset["note"] = "; ".join(filter(None, (dataset.get("note"), f"arithmetic: {amp.arithmetic()}")))
    elif args.amp:
        why = "the fast operators are off" if runtime.bf16_processor() else "this processor has no bf16"
        print(f"note: --amp: {why}; it trains in float32", file=sys.stderr)


def described():
    """`runtime.describe`, and what else decides the numbers: `amp.arithmetic`, `fast.instructions`, and processes."""
    from common.backend import amp, fast

    about = runtime.describe()
    about["machine"] |= {"arithmetic": amp.arithmetic(), "fast operators": fast.instructions()}
    if processes.count > 1:
        about["machine"]["processes"] = processes.count
    return about


def prepare(recipe, args, data, dataset, folder, place, report):
    """The `Loop` of a new run, or of the run in the folder if it is to be resumed; `Loop` explains the arguments.

    Raises:
        UserError: the data are not the resumed run's, or its checkpoint cannot be used.
    """
    if args.resume:
        config = folder.read_config()
        check_data(folder.path, config, dataset)
    options = {name: jsonable(value) for name, value in vars(args).items()}
    gan = recipe.make_gan({"options": options, "dataset": dataset}, place)
    if args.resume:
        config["options"].update({name: options[name] for name in KEPT if name in options})
        config["dataset"]["source"] = dataset["source"]  # they may have moved
    else:
        config = {"recipe": recipe.name, "options": options, "oddities": sorted(recipe.fixes), "dataset": dataset,
                  "files": list(gan.files), **described(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        folder.write_config(config)
        if processes.first:
            recipe.begin(folder.path, data, dataset)
    random, note = np.random.RandomState(args.seed), dataset.get("note", "")
    loop = Loop(gan, data, folder, config, random, args.epoch, args.max_steps, note, report)
    if args.resume:
        path = loop.resume()
        folder.write_config(config)
        print(f"resuming {path} at step {loop.step} of {loop.steps}")
    return loop


def check_data(run, config, dataset):
    """Refuse to resume with another data set; warn if this machine will compute slightly different numbers.

    Raises:
        UserError: the data set is not the run's.
    """
    if not same_pictures(config["dataset"]["checksum"], dataset["checksum"]):
        way_out = "name the run's pictures with --data_dir"
        if config["dataset"].get("fallback"):  # the embedded pictures need no folder
            way_out = "leave --data_dir out to go on with the embedded pictures, or start anew with another --output"
        raise UserError(f"--resume: the run in {run} was started on {config['dataset']['name']} "
                        f"from {config['dataset']['source']}, these pictures are others "
                        f"({dataset['name']} from {dataset['source']}); {way_out}")
    now = described()
    for what, before, after in (
            ("processes", config["machine"].get("processes", 1), processes.count),
            ("threads", config["machine"]["threads"], now["machine"]["threads"]),
            ("arithmetic", config["machine"].get("arithmetic", "float32"), now["machine"]["arithmetic"]),
            ("fast operators", config["machine"].get("fast operators", now["machine"]["fast operators"]),
             now["machine"]["fast operators"]),  # a run of an earlier version does not tell
            ("Paddle", *(about["versions"].get("paddlepaddle") or about["versions"].get("paddlepaddle-gpu")
                         for about in (config, now)))):
        if before != after:
            print(f"note: {what} {before} when the run started, {after} now: "
                  "the numbers will agree to rounding only, not to the bit", file=sys.stderr)


def visualdl():
    """VisualDL's ``LogWriter``.

    Raises:
        UserError: VisualDL is not installed.
    """
    try:
        from visualdl import LogWriter
    except ImportError:
        raise UserError("--visualdl: the package is not installed; pip install visualdl") from None
    return LogWriter
