#!/usr/bin/env python3
"""Runs clang-tidy over every source of the repository that a build folder compiles, or over some.

Usage: lint.py BUILD_FOLDER [FILE ...] [--jobs N]

The checks stand in .clang-tidy. They look at our declarations only, for which clang-tidy 19 needs a
plugin (tidy_scope.cc): without it they take twice as long and find the same. Sources of one
language are looked at as one, with the definitions and folders of all of them where these do not
differ, in groups whose names cannot meet (unity.py); a group that is not clean is looked at file by
file. A group that was clean is not looked at again until one of its
files, its flags, a header of the repository or .clang-tidy changes (BUILD_FOLDER/lint holds the
groups and the stamps).
Exit status 1 when clang-tidy finds something.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import unity

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCOPE = ROOT / "tools" / "checks" / "tidy_scope.cc"
CLANG_HEADERS = pathlib.Path("/usr/lib/llvm-19/include")  # libclang-19-dev and llvm-19-dev
ROOMS = ("base", "transport", "tiers", "cache", "client", "tools", "tests")
FILES_MAX = 16  # of a group: two of 8 files take a third longer
# What says nothing about a source's meaning. The word after the last one is a file.
SPARED = re.compile(r"-O.|-g\d?|-fPI[CE]|-fvisibility\S*|-include-pch")
# clang-tidy on one group: the slowest needs about 40 s, and beside the other stages of tools/check
# it gets a tenth of a core.
GROUP_SECONDS_MAX = 1800


def hash_of_headers():
    digest = hashlib.sha256()
    for room in ROOMS:
        for header in sorted((ROOT / room).rglob("*.h*")):
            digest.update(str(header).encode())
            digest.update(header.read_bytes())
    for settings in (ROOT / ".clang-tidy", ROOT / "tests" / ".clang-tidy", SCOPE):
        digest.update(settings.read_bytes())
    return digest.digest()


def flags_of(entry):
    """Of a line of the compilation database: the arguments that tell what the source means."""
    words = shlex.split(entry["command"])
    while not words[0].startswith("-"):
        words.pop(0)  # ccache and the compiler
    kept, skip = [], False
    for word in words:
        if not skip and word not in ("-o", "-c") and not SPARED.fullmatch(word):
            kept.append(word)
        skip = word in ("-o", "-c", "-include-pch")
    return tuple(kept)


def parted(flags):
    """({macro: definition}, [folder options], other flags) of a source's flags."""
    macros, folders, others = {}, [], []
    words = iter(flags)
    for word in words:
        if word.startswith("-D"):
            macros[word.split("=")[0]] = word
        elif word == "-isystem":
            folders.append((word, next(words)))
        elif word.startswith("-I"):
            folders.append((word,))
        else:
            others.append(word)
    return macros, folders, others


def merged(flags, others):
    """The flags of two sources as one; None where a macro or another flag differs."""
    (macros, folders, rest), (more, further, other_rest) = parted(flags), parted(others)
    if rest != other_rest or any(macros.get(name, text) != text for name, text in more.items()):
        return None
    macros.update(more)
    folders += [folder for folder in further if folder not in folders]
    return (*macros.values(), *(word for folder in folders for word in folder), *rest)


def work_of(build, only=()):
    """[(flags, [path])] of our files (or the given ones) in the build's compilation database."""
    entries = json.loads((build / "compile_commands.json").read_text())
    of_path = {}
    for entry in entries:
        path = pathlib.Path(entry["file"]).resolve()
        # What is compiled as one stands in a file that cmake made.
        is_group = path.is_relative_to(build) and path.parent.name == "Unity"
        names = unity.INCLUDE.findall(path.read_text()) if is_group else [path]
        for source in map(pathlib.Path, names):
            ours = source.is_relative_to(ROOT) and source.relative_to(ROOT).parts[0] in ROOMS
            if ours and (not only or source in only):
                of_path.setdefault(source, flags_of(entry))  # not of simulate_canaries
    alike = []  # [kind, flags, paths]
    for path, flags in sorted(of_path.items()):
        # C is not C++; a test has settings of its own (tests/.clang-tidy); what is shipped is not
        # looked at with the bugs that are put in on purpose.
        kind = (path.suffix, path.relative_to(ROOT).parts[0] == "tests",
                "-DTERRACE_CANARIES" in flags)
        for like in alike:
            if like[0] == kind and (both := merged(like[1], flags)) is not None:
                like[1] = both
                like[2].append(path)
                break
        else:
            alike.append([kind, flags, [path]])
    found = []
    for (suffix, *_), flags, paths in alike:
        groups = (unity.groups(paths, FILES_MAX) if suffix == ".cc" else [[path] for path in paths])
        found += [(flags, group) for group in groups]
    return found


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


def tidy(plugin, flags, path):
    """(whether it is clean, what clang-tidy said)."""
    try:
        run = subprocess.run(
            ["clang-tidy-19", "--quiet", *plugin, str(path), "--", *flags], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=GROUP_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return False, f"{path}: error: clang-tidy did not end within {GROUP_SECONDS_MAX} s"
    if "Error parsing" in run.stderr:  # of our settings: it went on with its own
        return False, f"{path}: error: {run.stderr.strip()}"
    if run.returncode == 0 and "warning:" not in run.stdout:
        return True, ""
    # stderr holds only counts of suppressed warnings, unless clang-tidy itself failed.
    return False, run.stdout.strip() or run.stderr.strip() or f"{path}: clang-tidy failed"


def lint(folder, plugin, flags, paths, stamp):
    """What clang-tidy said of a group, file by file; empty when it is clean."""
    if len(paths) > 1:
        # In a folder whose settings are those of the files: the root's, or those of the tests.
        tests = paths[0].relative_to(ROOT).parts[0] == "tests"
        group = folder / ("tests" if tests else "") / f"{stamp.name}.cc"
        group.write_text("".join(
            f'#include "{path}"  // NOLINT(bugprone-suspicious-include)\n' for path in paths))
        clean, said = tidy(plugin, flags, group)
        group.unlink()
        if clean:
            stamp.touch()
            return ""
    answers = [tidy(plugin, flags, path) for path in paths]
    if all(clean for clean, _ in answers):
        stamp.touch()
        if len(paths) > 1:
            print(f"{len(paths)} files are clean and cannot be looked at as one: "
                  f"{said.splitlines()[0]}", flush=True)
    return "\n".join(said for _, said in answers if said)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("files", type=pathlib.Path, nargs="*", metavar="FILE")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    stamps = build / "lint"
    stamps.mkdir(exist_ok=True)

    (stamps / "tests").mkdir(exist_ok=True)
    (stamps / "tests" / ".clang-tidy").write_bytes((ROOT / "tests" / ".clang-tidy").read_bytes())

    headers = hash_of_headers()
    work = []
    only = [path.resolve() for path in arguments.files]
    groups = work_of(build, only)
    for flags, paths in groups:
        digest = hashlib.sha256(headers + repr((flags, paths)).encode())
        for path in paths:
            digest.update(path.read_bytes())
        if not (stamps / digest.hexdigest()).exists():
            work.append((flags, paths, stamps / digest.hexdigest()))
    files = sum(len(paths) for _, paths in groups)
    if only and files != len(only):
        sys.exit(f"lint: {build} compiles {files} of the {len(only)} files")
    to_do = sum(len(paths) for _, paths, _ in work)
    print(f"{files} files, {files - to_do} unchanged since they were clean")
    work.sort(key=lambda item: len(item[1]), reverse=True)  # the longest first

    plugin = scope_plugin(stamps) if work else []
    bad, done = 0, 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(lint, stamps, plugin, *item): item[1] for item in work}
        for future in concurrent.futures.as_completed(running):
            paths = running[future]
            done += len(paths)
            said = future.result().replace(": warning:", ": error:")
            if said:
                bad += 1
                print(said)
            print(f"[{done}/{to_do}] {paths[-1].relative_to(ROOT)}", flush=True)
    print(f"{files} files, {bad} groups of them with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
