"""Resolve every pin in one go, then cut that resolution into locks: python locks/update.py UV."""

import re
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).resolve().parent
# Each lock holds what comes to the one that it builds on.
BELOW = {
    "app": None,
    "heif": "app",
    "jxl": "app",
    "batch": "app",
    "cloud": "batch",
    "notebooks": "batch",
    "benchmarks": "notebooks",
    "test": "benchmarks",
}
ALL = LOCKS / "all.txt"
ENTRY = re.compile(r"^\S+==(?:.*\\\n)*.*\n", re.MULTILINE)


def compile_pins(uv, *options):
    """Return the pins of one or several extras, for every system and Python."""
    command = [uv, "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--no-header"]
    command += ["--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--python-version", "3.11", *options]
    run = subprocess.run(command, cwd=LOCKS.parent, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def main(uv):
    """Write all locks."""
    text = compile_pins(uv, "--upgrade", "--extra", "test", "--extra", "cloud")
    ALL.write_text(text)
    try:
        entries = {}
        for name, below in BELOW.items():
            extra = ("--extra", name) if below else ()
            text = compile_pins(uv, "--generate-hashes", "--constraints", str(ALL), *extra)
            entries[name] = ENTRY.findall(text)
            base = f"-r {below}.txt\n" if below else ""
            added = [entry for entry in entries[name] if entry not in entries.get(below, ())]
            (LOCKS / f"{name}.txt").write_text(f"# By make lock.\n{base}{''.join(added)}")
    finally:
        ALL.unlink()
    # environment.yml: pip takes no hashes beside the editable package itself.
    pins = [entry.split(" \\\n")[0] + "\n" for entry in entries["notebooks"]]
    (LOCKS / "environment.txt").write_text("# By make lock.\n" + "".join(pins))


if __name__ == "__main__":
    main(*sys.argv[1:])
