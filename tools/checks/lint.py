#!/usr/bin/env python3
"""Runs clang-tidy over every source of the repository that a build folder compiles.

Usage: lint.py BUILD_FOLDER [--jobs N]

The checks stand in .clang-tidy. They look at our declarations only, for which clang-tidy 19 needs a
plugin (tidy_scope.cc): without it they take twice as long and find the same. A file that was clean
is not looked at again until it, its compile command, a header of the repository or .clang-tidy
changes (BUILD_FOLDER/lint holds the stamps).
Exit status 1 when clang-tidy finds something.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCOPE = ROOT / "tools" / "checks" / "tidy_scope.cc"
CLANG_HEADERS = pathlib.Path("/usr/lib/llvm-19/include")  # libclang-19-dev and llvm-19-dev
ROOMS = ("base", "transport", "tiers", "cache", "client", "tools", "tests")
# clang-tidy on one file: the slowest needs about 20 s, and beside the other stages of tools/check
# it gets a tenth of a core.
FILE_SECONDS_MAX = 1800


def hash_of_headers():
    digest = hashlib.sha256()
    for room in ROOMS:
        for header in sorted((ROOT / room).rglob("*.h*")):
            digest.update(str(header).encode())
            digest.update(header.read_bytes())
    for settings in (ROOT / ".clang-tidy", ROOT / "tests" / ".clang-tidy", SCOPE):
        digest.update(settings.read_bytes())
    return digest.digest()


def sources(build):
    """[(path, command)] of our files in the build's compilation database."""
    entries = json.loads((build / "compile_commands.json").read_text())
    found = {}
    for entry in entries:
        path = pathlib.Path(entry["file"]).resolve()
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ROOMS:
            found[path] = entry.get("command", "")
    return sorted(found.items())


def scope_plugin(folder):
    """Arguments that load the plugin; none where it cannot be built, which is said."""
    library = folder / f"scope-{hashlib.sha256(SCOPE.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        if not (CLANG_HEADERS / "clang-tidy").exists():
            print("the headers of libclang-19-dev are missing: this takes twice as long")
            return []
        made = folder / f"scope-{os.getpid()}.so"
        run = subprocess.run(
            ["clang++-19", "-std=c++17", "-O1", "-fno-rtti", "-fno-exceptions", "-fPIC", "-shared",
             "-isystem", str(CLANG_HEADERS), str(SCOPE), "-o", str(made)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if run.returncode != 0:
            print(f"the plugin cannot be built, this takes twice as long:\n{run.stdout}")
            return []
        made.rename(library)
    return [f"--load={library}", "--checks=terrace-scope"]  # beside those of .clang-tidy


def lint(build, plugin, path, stamp):
    """What clang-tidy said; empty when the file is clean."""
    try:
        run = subprocess.run(
            ["clang-tidy-19", "--quiet", *plugin, "-p", str(build), str(path)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=FILE_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"{path}: error: clang-tidy did not end within {FILE_SECONDS_MAX} s"
    if run.returncode == 0 and "warning:" not in run.stdout:
        stamp.touch()
        return ""
    # stderr holds only counts of suppressed warnings, unless clang-tidy itself failed.
    return run.stdout.strip() or run.stderr.strip() or f"{path}: clang-tidy failed"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    stamps = build / "lint"
    stamps.mkdir(exist_ok=True)

    headers = hash_of_headers()
    work = []
    files = sources(build)
    for path, command in files:
        digest = hashlib.sha256(headers + command.encode() + path.read_bytes()).hexdigest()
        if not (stamps / digest).exists():
            work.append((path, stamps / digest))
    print(f"{len(files)} files, {len(files) - len(work)} unchanged since they were clean")

    plugin = scope_plugin(stamps) if work else []
    bad, done = 0, 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(lint, build, plugin, path, stamp): path for path, stamp in work}
        for future in concurrent.futures.as_completed(running):
            done += 1
            said = future.result().replace(": warning:", ": error:")
            if said:
                bad += 1
                print(said)
            print(f"[{done}/{len(work)}] {running[future].relative_to(ROOT)}", flush=True)
    print(f"{len(files) - bad} files clean, {bad} files with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
