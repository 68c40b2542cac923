#!/usr/bin/env python3
"""Every header compiles alone, so that the order of includes never matters.

Usage: self_contained_headers_test.py BUILD_FOLDER COMPILER [FLAG ...]

The public header is compiled with g++ too: engines are built with it.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import repository
from repository import ROOT

PUBLIC_HEADER = "client/terrace.hpp"
COMPILE_SECONDS_MAX = 120
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


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
    work = [(compiler, header) for header in headers]
    if shutil.which("g++"):
        work.append((["g++"], PUBLIC_HEADER))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda pair: compile_alone(*pair, build), work)
        problems = [complaint for complaint in said if complaint]
    repository.report("self-contained headers", problems, f"{len(work)} headers")


if __name__ == "__main__":
    main()
