"""All measurements, then the tables and pictures: `python -m bench`; the options are those that all scripts share."""

from . import growth, labelling, options, report, reports


def main() -> None:
    made = options.parser(__doc__, "scripts (labelling, reports, growth)")
    asked = options.read(made, None)
    words = ["--rounds", str(asked.rounds), "--threads", str(asked.threads), "--limit", str(asked.limit)]
    words += ["--into", str(asked.into), *(["--quick"] if asked.quick else [])]
    scripts = {"labelling": labelling.main, "reports": reports.main, "growth": growth.main}
    failures = []
    for name in options.chosen(scripts, asked.only):
        try:
            scripts[name](words)
        except SystemExit as failed:  # the other measurements go on
            failures.append(f"{name}: {failed}")
    report.main(["--into", str(asked.into)])
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
