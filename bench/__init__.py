"""Every figure of speed and memory that the project claims, measured beside the fastest other programs.

    pip install -e ".[peers,test,dev]"
    python -m bench                    everything below, one after the other (some hours on two cores)
    python -m bench.labelling          dense labelling: ours against PyTorch, onnxruntime and OpenVINO
    python -m bench.reports            the tables of Jakubiuk 2015 and Tschopp 2015, on this machine
    python -m bench.growth             N4's speed and memory from 256 x 256 to 8192 x 8192 pixels
    python -m bench.report             tables and pictures from bench/results/*.json

Run it from the root of the checkout. `--quick` takes tiny nets and images and shows that everything works, not how fast
it is; it writes to a temporary folder unless `--into` names one. A peer that is not installed is left out, with the reason.

How it measures. Every contestant has a process of its own (`worker.py`), which loads the net and is kept; the
coordinator (`turns.py`) asks them in turns, so only one computes at any time, and pauses between them until the others'
threads have stopped spinning. A run goes from a float32 image (N, C, H, W) in memory to a fresh float32 answer in C order,
all conversions of layout included. The first run is not counted: it compiles and warms up, and its answer is compared
with ours before anything is timed. Reported are medians, and medians of the ratios within each round, because machines drift.
"""
