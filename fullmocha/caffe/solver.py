"""A solver prototxt to a training: the method and its parameters, the net, the nets that test it, what is shown and saved.

    solver.prototxt -> text.py -> rules.py -> CaffeTraining(solver, net, test_nets, ...)

Caffe's loop tests and saves between an update and the next batch; the coffees that do so here are early ones (see solvers/loop.py).
"""

import math
import os
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backend import Backend, make_backend
from ..coffee import Display, TestScores
from ..coffee.log import logger
from ..errors import FormatError, SolverError, UnsupportedError
from ..net import Net
from ..regularizers import L1Regu, L2Regu
from ..solvers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    LRPolicy,
    Method,
    MomPolicy,
    Nesterov,
    RMSProp,
    Solver,
    SolverState,
    make_solver_parameters,
    solve,
)
from .load import Described, build, describe_message, wanted_by
from .rules import Phase, state_of, upgrade_solver
from .schema import Message
from .snapshots import CaffeSnapshots, Trained, resume
from .text import read_prototxt
from .weights import fit, read_weights

if TYPE_CHECKING:
    from ..solvers.policies import Policy

Say = Callable[[str], object]

# Caffe's type -> the method, and its parameters beside the learning rate
METHODS: dict[str, tuple[type[Method], Callable[[Message], dict[str, Any]]]] = {
    "SGD": (SGD, lambda text: {"mom_policy": MomPolicy.Fixed(text.momentum)}),
    "Nesterov": (Nesterov, lambda text: {"mom_policy": MomPolicy.Fixed(text.momentum)}),
    "AdaGrad": (Adagrad, lambda text: {"epsilon": text.delta}),
    "RMSProp": (RMSProp, lambda text: {"rms_decay": text.rms_decay, "epsilon": text.delta}),
    "AdaDelta": (Adadelta, lambda text: {"rho": text.momentum, "eps": text.delta}),
    "Adam": (Adam, lambda text: {"beta1": text.momentum, "beta2": text.momentum2, "epsilon": text.delta}),
}
# our names of parameters -> the file's
CAFFES = {
    "regu_coef": "weight_decay", "epsilon": "delta", "eps": "delta",
    "rho": "momentum", "beta1": "momentum", "beta2": "momentum2",
}  # fmt: skip
WITHOUT_MOMENTUM = ("AdaGrad", "RMSProp")

POLICIES: dict[str, Callable[[Message], "Policy"]] = {
    "fixed": lambda text: LRPolicy.Fixed(text.base_lr),
    "step": lambda text: LRPolicy.Step(text.base_lr, text.gamma, text.stepsize),
    "exp": lambda text: LRPolicy.Exp(text.base_lr, text.gamma),
    "inv": lambda text: LRPolicy.Inv(text.base_lr, text.gamma, text.power),
    "multistep": lambda text: LRPolicy.MultiStep(text.base_lr, text.gamma, tuple(text.stepvalue)),
    "poly": lambda text: LRPolicy.Poly(text.base_lr, text.power, text.max_iter),
    "sigmoid": lambda text: LRPolicy.Sigmoid(text.base_lr, text.gamma, text.stepsize),
}


@dataclass(frozen=True)
class CaffeTraining:
    """What a solver file describes, ready to be trained.

    Attributes
    ----------
    solver : Solver
        The lounge has the display, the tests and the snapshots of the file; more coffees can be added.
    net : Net
    test_nets : list of Net
        On the net's backend object, so that they share its parameters.
    display : Display
    snapshots : CaffeSnapshots
        With `stopping`, to end the training early.
    """

    solver: Solver
    net: Net
    test_nets: Sequence[Net]
    display: Display
    snapshots: CaffeSnapshots

    def solve(self) -> SolverState:
        """Trains until max_iter."""
        return solve(self.solver, self.net)


def load_solver(
    path: str | os.PathLike[str],
    backend: "str | Backend" = "auto",
    weights: str | os.PathLike[str] | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    say: Say = logger.info,
) -> CaffeTraining:
    """`fullmocha.caffe.load_caffe_solver`; `say` gets the lines of the display, the tests and the snapshots."""
    source = os.fspath(path)
    text = upgrade_solver(read_prototxt(path, "SolverParameter"), source)
    _refuse(text, source)
    try:
        solver = _solver(text)
    except SolverError as error:
        name, _, rule = str(error).partition(" ")
        raise SolverError(f"{source}: {CAFFES.get(name, name)} {rule}") from error
    backend = make_backend(backend)
    if text.random_seed >= 0:
        backend.seed(text.random_seed)
    train, tests = _nets(text, source)
    net = build(train.found, train.source, None, backend, dtype, allow_missing=False)
    test_nets = []
    for test in tests:
        with warnings.catch_warnings():  # a test net need not repeat how its parameters are trained
            warnings.filterwarnings("ignore", message=r"(?s).*: asks for ")
            test_nets.append(build(test.found, test.source, None, backend, dtype, allow_missing=False))
        test_nets[-1].freeze(*test_nets[-1].params)  # so it needs no room for gradients
    if text.regularization_type == "L1":
        for parameter in net.parameters:
            if isinstance(parameter.regularizer, L2Regu):
                parameter.regularizer = L1Regu(parameter.regularizer.coef)
    trained = Trained(net, train.found, test_nets)
    if resume_from is not None:
        solver.params["load_from"] = resume(trained, resume_from, weights)
    else:
        given = [weights] if weights is not None else [_at(name, source) for name in _files(text.weights)]
        for file in given:
            found = [(test_net, test.found) for test_net, test in zip(test_nets, tests, strict=True)]
            _copy_weights(trained, found, os.fspath(file))
    hdf5 = text.snapshot_format == text.HDF5
    snapshots = CaffeSnapshots(trained, _prefix(text, source), text.snapshot, text.snapshot_after_train, hdf5, say)
    display = Display(text.display, max(1, text.average_loss), say)
    solver.lounge.add(snapshots, every_n_iter=1)
    for i, (test_net, batches) in enumerate(zip(test_nets, text.test_iter, strict=True)):
        scores = TestScores(test_net, batches, i, text.test_initialization, say, lambda: snapshots.stopping)
        solver.lounge.add(scores, every_n_iter=text.test_interval)
    solver.lounge.add(display, every_n_iter=1)
    return CaffeTraining(solver, net, test_nets, display, snapshots)


# ------------------------------------------------------------------------------------------------------------ the solver
def _refuse(text: Message, source: str) -> None:
    """What a file must say, and must not."""
    for name in ("base_lr", "lr_policy", "max_iter"):
        if not text.HasField(name):
            raise FormatError(f"{source}: {name} is missing")
    choices: dict[str, Collection[str]] = {"type": METHODS, "lr_policy": POLICIES, "regularization_type": ("L1", "L2")}
    for name, known in choices.items():
        if getattr(text, name) not in known:
            raise UnsupportedError(f"{source}: {name} is '{getattr(text, name)}'; expected one of {', '.join(known)}")
    for name in ("max_iter", "display", "test_interval", "snapshot", "average_loss"):
        if getattr(text, name) < 0:
            raise FormatError(f"{source}: {name} is {getattr(text, name)}; expected at least 0")
    if text.type in WITHOUT_MOMENTUM and text.momentum:
        raise FormatError(f"{source}: momentum is {text.momentum:g}, but {text.type} has none; remove it")
    if text.snapshot_diff:
        raise UnsupportedError(f"{source}: snapshot_diff is not built: gradients are not saved; remove it")
    if text.debug_info:
        logger.info("%s: debug_info is left aside; look at net.output_blobs and net.diff_blobs from Python", source)


def _solver(text: Message) -> Solver:
    kind, own = METHODS[text.type]
    method = kind()
    params = make_solver_parameters(
        method,
        convention="caffe",
        max_iter=text.max_iter,
        lr_policy=POLICIES[text.lr_policy](text),
        regu_coef=text.weight_decay,
        clip_gradients=text.clip_gradients if text.clip_gradients >= 0 else math.inf,
        iter_size=text.iter_size,
        **own(text),
    )
    return Solver(method, params)


def _prefix(text: Message, source: str) -> str:
    """How the snapshots' names begin: as the file says, in a folder that it names, or as the file's own."""
    own = Path(source).with_suffix("")
    prefix = text.snapshot_prefix
    if not prefix:
        return str(own)
    return os.path.join(prefix, own.name) if prefix.endswith("/") or Path(prefix).is_dir() else prefix


# -------------------------------------------------------------------------------------------------------------- the nets
@dataclass(frozen=True)
class _NetText:
    """One net of the file, described; ``source`` is named in errors."""

    source: str
    found: Described


def _nets(text: Message, source: str) -> tuple[_NetText, list[_NetText]]:
    """The net to train and the nets to test, by Caffe's rules."""
    both = [("net", text.net)] * bool(text.net) + [("net_param", text.net_param)] * text.HasField("net_param")
    if len(both) > 1:
        raise FormatError(f"{source} has both net and net_param; expected one of them")
    train = [("train_net", text.train_net)] * bool(text.train_net)
    train += [("train_net_param", text.train_net_param)] * text.HasField("train_net_param") + both
    if len(train) != 1:
        listed = ", ".join(name for name, _ in train) or "none"
        raise FormatError(
            f"{source} names {listed} to train; expected one of net, net_param, train_net, train_net_param"
        )
    tests: list[tuple[str, Any]] = [("test_net_param", param) for param in text.test_net_param]
    tests += [("test_net", name) for name in text.test_net]
    wanted = len(text.test_iter)
    if len(tests) > wanted or (len(tests) < wanted and not both):
        raise FormatError(f"{source} has {wanted} test_iter for {len(tests)} test nets; expected one each")
    tests += both * (wanted - len(tests))
    if len(text.test_state) not in (0, len(tests)):
        raise FormatError(f"{source} has {len(text.test_state)} test_state for {len(tests)} tests; expected one each")
    if tests and not text.test_interval:
        raise FormatError(
            f"{source} has test_iter, but no test_interval; say how many iterations lie between two tests"
        )
    if any(count < 1 for count in text.test_iter):
        raise FormatError(f"{source} has test_iter {list(text.test_iter)}; expected at least 1 each")
    states = list(text.test_state) or [None] * len(tests)
    described = [_describe(one, source, "test", state) for one, state in zip(tests, states, strict=True)]
    return _describe(train[0], source, "train", text.train_state), described


def _describe(named: tuple[str, Any], source: str, phase: Phase, state: Message | None) -> _NetText:
    field, net = named
    if isinstance(net, str):
        source = _at(net, source)
        net = read_prototxt(source)
    else:
        source = f"{source}: {field}"
    phase, level, stages = state_of(phase, net.state, *([state] if state is not None else []))
    return _NetText(source, describe_message(net, source, phase, stages, level))


def _at(name: str, source: str) -> str:
    """A file that the solver file names: in the working directory as in Caffe, or beside the solver file."""
    if os.path.exists(name):  # also where the name is none, too long for instance
        return name
    beside = Path(source).parent / name
    if not os.path.exists(beside):
        raise FormatError(
            f"{source}: names {name}, which is neither in the working directory {os.getcwd()}, where Caffe looks for it, nor beside "
            "the solver file; start in another directory, or mend the path"
        )
    logger.info("%s is not in the working directory %s; %s is taken, beside the solver file", name, os.getcwd(), beside)
    return os.fspath(beside)


def _files(weights: Sequence[str]) -> list[str]:
    """Caffe separates several files by commas, and may repeat the field."""
    return [name.strip() for text in weights for name in text.split(",") if name.strip()]


def _copy_weights(trained: Trained, tests: Sequence[tuple[Net, Described]], file: str) -> None:
    """To begin with, also of layers that only a test has: layers that the file lacks keep what they were drawn."""
    net, blobs = trained.net, read_weights(file)
    values = fit(blobs, wanted_by(net, trained.found), file, net.dtype, allow_missing=True)
    net.load_params(values)
    for test, found in tests:
        wanted = wanted_by(test, found).items()
        own = {layer: want for layer, want in wanted if layer not in net.params and want.name in blobs}
        test.load_params(fit(blobs, own, file, net.dtype))
    drawn = sorted(set(net.params) - set(values))
    if drawn:
        logger.info("%s: has no weights for %s, which keep their initial values", file, ", ".join(drawn))
