"""Trains the net of `fullmocha demo`: made-up micrographs, a max-pooling net, and `solve_fully`.

The net is written for a window of 45 x 45 pixels. It is trained on tiles of 172 x 172 with one label for each of the 128 x 128
windows in them, 16,384 windows for hardly more than the work of one pass over the tile.

    python examples/membrane_demo.py                     minutes, not hours; prints the pixel error on pictures never trained on
    python examples/membrane_demo.py --out weights.h5    and keeps the weights

FULLMOCHA_SMALL=1 makes it a short run that shows that everything works.
"""

import argparse
import os

import numpy as np

import fullmocha as fm
from fullmocha.imaging.scores import pixel_error
from fullmocha.imaging.synthetic import em_picture
from fullmocha.models.membrane import GREYS, membrane

SMALL = bool(os.environ.get("FULLMOCHA_SMALL"))
PICTURES, SIDE, TILE, CONTEXT = (2, 300, 64, 44) if SMALL else (48, 556, 128, 44)
ITERATIONS, BATCH = (20, 1) if SMALL else (3000, 1)


def tiles(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures cut into tiles with their context, each turned one of eight ways; and the labels of the inner part."""
    images, labels = [], []
    for _ in range(PICTURES):
        image, inside = em_picture(SIDE, SIDE, rng)
        for y in range(0, SIDE - TILE - CONTEXT + 1, TILE):
            for x in range(0, SIDE - TILE - CONTEXT + 1, TILE):
                turn, flip = rng.integers(4), rng.integers(2)
                window = (slice(y, y + TILE + CONTEXT), slice(x, x + TILE + CONTEXT))
                pair = [np.rot90(a[window], turn)[:: 1 - 2 * flip] for a in (image, inside)]
                images.append(pair[0])
                labels.append(pair[1][CONTEXT // 2 : CONTEXT // 2 + TILE, CONTEXT // 2 : CONTEXT // 2 + TILE])
    return np.stack(images)[:, None], np.stack(labels)[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where the weights go, an .h5 file")
    parser.add_argument("--backend", default="cpu")
    arguments = parser.parse_args()

    images, labels = tiles(np.random.default_rng(1))
    print(f"{len(images)} tiles of {images.shape[2]} x {images.shape[3]}, {labels[0].size:,} windows in each")
    backend = {"cpu": fm.CPUBackend, "reference": fm.ReferenceBackend, "cuda": fm.GPUBackend}[arguments.backend](seed=1)
    data = fm.MemoryDataLayer(batch_size=BATCH, data=[images, labels], shuffle=True, transformers=GREYS)
    loss = fm.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"])
    net = fm.Net("membrane", backend, [*membrane(data=data, softmax=False), loss], patch=45)

    method = fm.SGD()
    parameters = fm.make_solver_parameters(
        method,
        max_iter=ITERATIONS,
        regu_coef=1e-4,
        lr_policy=fm.LRPolicy.Exp(0.02, 0.03 ** (1 / ITERATIONS)),
        mom_policy=fm.MomPolicy.Fixed(0.9),
    )
    solver = fm.Solver(method, parameters)
    fm.add_coffee_break(solver, fm.TrainingSummary(), every_n_iter=max(1, ITERATIONS // 40))
    fm.solve_fully(solver, net)

    labelling = fm.Net("membrane", backend, membrane())  # on the same backend object, so with the trained parameters
    rng, errors = np.random.default_rng(2), []
    for _ in range(1 if SMALL else 4):
        picture, inside = em_picture(512 if not SMALL else 128, 512 if not SMALL else 128, rng)
        errors.append(pixel_error(fm.predict(labelling, picture)[1], inside).error)
    print(f"pixel error on {len(errors)} new pictures: {np.mean(errors):.4f}")
    if arguments.out:
        fm.save_network(labelling, arguments.out)


if __name__ == "__main__":
    main()
