"""FullMocha: a network trained on patches labels every pixel, as if the patch had been slid over the image."""

import importlib as _importlib
import importlib.util as _util
import os.path as _p
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__version__ = "0.1.0"

# module -> its public names, imported when a name is first used: importing fullmocha itself stays cheap
_PUBLIC = {
    "answering": "deploy",
    "backend": """
        Backend CPUBackend DefaultBackend GPUBackend ReferenceBackend registry_reset shutdown""",
    "blob": "Blob Parameter",
    "caffe": "load_caffe load_caffe_solver",
    "coffee": """
        Coffee CoffeeLounge Display Snapshot TestScores TrainingSummary ValidationPerformance add_coffee_break
        dump_statistics setup_coffee_lounge""",
    "constraints": "L2Cons NoCons",
    "dense": "DenseNet",
    "errors": """
        BudgetError FormatError FullMochaError NotDenseError ShapeError SolverError TopologyError UnsupportedError
        WeightsError""",
    "forms": "densify",
    "fully": "predict solve_fully",
    "initializers": """
        BilinearInitializer ConstantInitializer GaussianInitializer MSRAInitializer NullInitializer
        OrthogonalInitializer PositiveUnitballInitializer UniformInitializer XavierInitializer""",
    "layers": """
        AbsValLayer AccuracyLayer ArgmaxLayer BNLLLayer BatchNormLayer BatchReindexLayer BiasLayer ClipLayer
        ConcatLayer ContrastiveLossLayer ConvolutionLayer CropLayer DataLayer DeconvolutionLayer DropoutLayer
        DummyDataLayer ELULayer ElementWiseFunctors ElementWiseLayer EmbedLayer ExpLayer FilterLayer
        FlattenLayer HDF5DataLayer HDF5OutputLayer HingeLossLayer IdentityLayer Im2colLayer ImageDataLayer
        InfogainLossLayer InnerProductLayer InputLayer LRNLayer LRNMode LSTMLayer Layer LogLayer MVNLayer
        MemoryDataLayer MemoryOutputLayer MergeCropLayer MultinomialLogisticLossLayer NeuronLayer Node
        PReLULayer ParameterBlobLayer ParameterLayer ParameterSpec Pooling PoolingLayer PowerLayer RNNLayer
        ReLULayer ReductionLayer ReshapeLayer SPPLayer ScaleLayer SigmoidCrossEntropyLossLayer SigmoidLayer
        SilenceLayer SliceLayer SoftmaxLayer SoftmaxLossLayer SplitLayer SquareLossLayer SumLossLayer SwishLayer
        TanHLayer ThresholdLayer TileLayer reset_outputs""",
    "listing": "net2dot",
    "mocha": """
        backward check_bp_topology copy copy_to destroy erase fill forward forward_backward forward_epoch freeze
        freeze_all get_epoch get_layer get_layer_state get_statistics init is_frozen make_blob register
        reset_statistics save_statistics to_array unfreeze unfreeze_all update_statistics""",
    "net": "Net",
    "onnx": "load_onnx save_onnx",
    "neurons": "Neurons",
    "regularizers": "L1Regu L2Regu NoRegu",
    "solvers": """
        SGD Adadelta Adagrad Adam LRPolicy MomPolicy Nesterov RMSProp Solver finalize_solve init_solve load_network
        load_snapshot make_solver_parameters onestep_solve save_network save_snapshot solve""",
    "transformers": "DataTransformers",
}
_HOMES = {name: f"fullmocha.{module}" for module, names in _PUBLIC.items() for name in names.split()}
__all__ = [*_HOMES]

if _TYPE_CHECKING:  # the same modules for type checkers, which cannot see through __getattr__
    from fullmocha.answering import *  # noqa: F403
    from fullmocha.backend import *  # noqa: F403
    from fullmocha.blob import *  # noqa: F403
    from fullmocha.caffe import *  # noqa: F403
    from fullmocha.coffee import *  # noqa: F403
    from fullmocha.constraints import *  # noqa: F403
    from fullmocha.dense import *  # noqa: F403
    from fullmocha.errors import *  # noqa: F403
    from fullmocha.forms import *  # noqa: F403
    from fullmocha.fully import *  # noqa: F403
    from fullmocha.initializers import *  # noqa: F403
    from fullmocha.layers import *  # noqa: F403
    from fullmocha.listing import *  # noqa: F403
    from fullmocha.mocha import *  # noqa: F403
    from fullmocha.net import *  # noqa: F403
    from fullmocha.neurons import *  # noqa: F403
    from fullmocha.onnx import *  # noqa: F403
    from fullmocha.regularizers import *  # noqa: F403
    from fullmocha.solvers import *  # noqa: F403
    from fullmocha.transformers import *  # noqa: F403


def __getattr__(name: str) -> _Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fullmocha' has no attribute {name!r}")
    value = globals()[name] = getattr(_importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


class _Beside:
    """Finds fullmocha.backends in the sibling folder of a checkout; last in line, so an installed one always wins."""

    root = _p.join(_p.dirname(_p.dirname(_p.abspath(__file__))), "backends")

    @classmethod
    def find_spec(cls, name: str, path: _Any = None, target: _Any = None) -> _Any:
        init = _p.join(cls.root, "__init__.py")
        if name != "fullmocha.backends" or not _p.isfile(init):
            return None
        return _util.spec_from_file_location(name, init, submodule_search_locations=[cls.root])


_sys.meta_path.append(_Beside)
