"""Coverage-guided fuzzing with atheris (of the dev extra): `python tests/fuzz/fuzz.py TARGET [--seconds N]`, or `all` of them.

Ends with 0 if nothing was found in that time. Else it prints what broke the rules of targets.py, and libFuzzer writes the input
to ./crash-... or ./timeout-...; run it again alone with `--input FILE`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

INSTRUMENTED = [
    "fullmocha.caffe",
    "fullmocha.imaging",
    "fullmocha.onnx",
    "fullmocha.stored",
    "fullmocha.solvers.jld",
    "fullmocha.solvers.model",
]


def words() -> set[str]:
    """Every name that a prototxt may hold: what random bytes would not find."""
    from fullmocha.caffe.schema import text_message
    from fullmocha.caffe.translate import TRANSLATIONS

    found, left = set(TRANSLATIONS), [text_message(name).DESCRIPTOR for name in ("NetParameter", "SolverParameter")]
    seen = set()
    while left:
        message = left.pop()
        if message.name in seen:
            continue
        seen.add(message.name)
        for field in message.fields:
            block = field.message_type is not None
            found.add(f"{field.name} {{ " if block else f"{field.name}: ")
            left += [field.message_type] if block else []
            found |= {value.name for value in field.enum_type.values} if field.enum_type else set()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="text, binary, state, hdf5, tiff, png, onnx, or all")
    parser.add_argument("--seconds", type=int, default=60, help="in all (60)")
    parser.add_argument("--input", type=Path, help="run this file alone")
    parser.add_argument("--corpus", type=Path, help="a folder of inputs to start from and to add to")
    arguments = parser.parse_args()
    if arguments.target == "all":
        sys.exit(run_all(arguments.seconds))
    if arguments.input:
        import targets

        targets.guarded(arguments.target, arguments.input.read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:  # libFuzzer leaves without coming back, and this stays in /tmp
        fuzz(arguments.target, arguments.seconds, arguments.corpus or Path(folder) / "corpus", Path(folder) / "words")


def fuzz(target: str, seconds: int, corpus: Path, dictionary: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        import seeds
        import targets
    if target not in targets.TARGETS:
        sys.exit(f"{target} is no target; expected one of {', '.join(targets.TARGETS)}, all")
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds.SEEDS[target]):
        (corpus / f"seed{i}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]
    if target == "text":
        dictionary.write_text("".join(f'"{word}"\n' for word in sorted(words())))
        options.append(f"-dict={dictionary}")
    atheris.Setup(
        [sys.argv[0], *options, "-print_final_stats=1", str(corpus)], lambda raw: targets.guarded(target, raw)
    )
    atheris.Fuzz()


def run_all(seconds: int) -> int:
    """Every target in a process of its own; the number of those that found something."""
    import targets

    found, each = 0, max(1, seconds // len(targets.TARGETS))
    for name in targets.TARGETS:
        command = [sys.executable, __file__, name, "--seconds", str(each)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        executions = "".join(
            line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line
        )
        print(
            f"{name}: {'FOUND SOMETHING' if done.returncode else 'clean'}, {executions or '?'} runs in {each} s",
            flush=True,
        )
        if done.returncode:
            print(done.stdout[-3000:] + done.stderr[-6000:])
            found += 1
    return found


if __name__ == "__main__":
    main()
