#!/usr/bin/env python3
"""Every header compiles alone, so that the order of includes never matters.

Usage: self_contained_headers_test.py BUILD_FOLDER COMPILER [FLAG ...]

A header that is the first include of a source of the build was compiled alone when that source
was, with the same warnings; the others are compiled here, and the public header in any case, with
g++ too: engines are built with it.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import repository
from repository import ROOT

PUBLIC_HEADER = "client/terrace.hpp"
COMPILE_SECONDS_MAX = 120
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def first_includes(build):
    """Headers of ours that come before anything else in a source that the build compiles."""
    found = set()
    for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        include = INCLUDE.search(path.read_text()) if path.is_relative_to(ROOT) else None
        if include and include.group(1) == '"':
            found.add(include.group(2))
    return found


def has_guard(header):
    return "#pragma once" in (ROOT / header).read_text().splitlines()


def compile_alone(compiler, header, build):
    """The compiler's complaints; empty when the header stands alone."""
    command = compiler + ["-std=c++20", *WARNINGS, "-fsyntax-only", f"-I{ROOT}",
                          f"-I{build}/generated", "-x", "c++", "-"]
    # Twice: the second include finds a missing or wrong guard.
    source = f'#include "{header}"\n#include "{header}"\nint main() {{ return 0; }}\n'
    run = subprocess.run(command, input=source, text=True, cwd=ROOT, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=COMPILE_SECONDS_MAX, check=False)
    return "" if run.returncode == 0 else f"{header} with {compiler[0]}:\n{run.stdout}"


def main():
    build, *compiler = sys.argv[1:]
    headers = [path.as_posix() for path in repository.files()
               if path.suffix in repository.CPP_HEADERS and path.parts[0] in repository.ROOMS]
    problems = [f"{header} has no line '#pragma once'" for header in headers
                if not has_guard(header)]
    proven = first_includes(build) - {PUBLIC_HEADER}
    work = [(compiler, header) for header in headers if header not in proven]
    if shutil.which("g++"):
        work.append((["g++"], PUBLIC_HEADER))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda pair: compile_alone(*pair, build), work)
        problems += [complaint for complaint in said if complaint]
    here = len(headers) - len(proven & set(headers))
    repository.report("self-contained headers", problems,
                      f"{len(headers)} headers ({here} compiled here)")


if __name__ == "__main__":
    main()
