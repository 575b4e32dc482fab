"""The part of a net that answers, without what trains it."""

from .conversion import find_output
from .layers import InputLayer, Layer
from .layers.data import SourceLayer
from .net import Net
from .sketch import needed


def deploy(net: Net, output: str | None = None) -> Net:
    """What leads from a net's images to its answer, fed by hand: no data files, labels, losses or scores (Caffe's deploy.prototxt).

    Parameters
    ----------
    net : Net
        Its backend, and so its parameters, are shared.
    output : str, optional
        The blob wanted, where the net has several outputs.

    Returns
    -------
    Net
        With an `InputLayer` for one patch in place of each data layer, with what that does to the images (scale, mean).

    Raises
    ------
    ShapeError
        If the net has several outputs, or none of that name.

    Examples
    --------
    >>> data = fm.MemoryDataLayer(batch_size=2, data=[np.ones((4, 1, 3, 5)), np.zeros((4, 1))])
    >>> ip = fm.InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=2)
    >>> net = fm.Net("two", "reference", [data, ip, fm.SoftmaxLossLayer(bottoms=["ip", "label"])])
    >>> [layer.name for layer in fm.deploy(net).layers]
    ['memory-data', 'ip']
    """
    links = needed(net.wiring.links, [find_output(net.sketch, output)])
    made = {top for link in links for top in link.layer.tops}
    read = {bottom for link in links for bottom in link.layer.bottoms}
    layers = (_fed(net, layer, read) if isinstance(layer, SourceLayer) else layer for layer in net.layers)
    kept = [layer for layer in layers if made & set(layer.tops) and not layer.is_sink]
    return Net(net.name, net.backend, kept, dtype=net.dtype)


def _fed(net: Net, layer: SourceLayer, read: set[str]) -> Layer:
    """The tops that are read, as inputs of one sample."""
    tops = [top for top in layer.tops if top in read]
    shapes = [(1, *net.declared[net.wiring.first[top]][1:]) for top in tops]
    steps = [(top, step) for top, step in layer.transformers if top in tops]
    return InputLayer(name=layer.name, tops=tops, shapes=shapes, transformers=steps)
