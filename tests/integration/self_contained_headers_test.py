#!/usr/bin/env python3
"""Every header compiles alone, so that the order of includes never matters.

Usage: self_contained_headers_test.py BUILD_FOLDER COMPILER [FLAG ...]

The headers of others are precompiled: includes_test.py looks at whether a header names what it
needs of those. Ours are compiled in chains, each header after such as it includes itself: nothing
that it lacks can come from them. The public header is compiled without any of this, and with g++
too: engines are built with it.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import repository
from includes_test import closure, plain
from repository import ROOT

PUBLIC_HEADER = "client/terrace.hpp"
COMPILE_SECONDS_MAX = 120
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# Of others, beside the standard library's, what many headers include.
PRECOMPILED = ("flatbuffers/flatbuffers.h", "gmock/gmock.h", "gtest/gtest.h")


def has_guard(header):
    return "#pragma once" in (ROOT / header).read_text().splitlines()


def chains(headers):
    """The headers in lists in which each includes, by whatever way, all that stand before it."""
    found, left = [], set(headers)
    largest_first = sorted(headers, key=lambda header: (-len(closure(header)), header))
    while left:
        chain = []
        for header in largest_first:
            if header in left and (not chain or closure(header) < closure(chain[-1])):
                chain.append(header)
                left.remove(header)
        found.append(chain[::-1])
    return found


def precompile(compiler, headers, folder):
    """The compiler's options to use a file of what the headers include of others."""
    named = {name for header in headers for name in plain(header)[2]}
    chosen = sorted(name for name in named if "." not in name or name in PRECOMPILED)
    made = pathlib.Path(folder) / "others.pch"
    subprocess.run([*compiler, "-std=c++20", *WARNINGS, "-fpch-instantiate-templates", "-x",
                    "c++-header", "/usr/include/stdc-predef.h", "-o", str(made),
                    *(word for name in chosen for word in ("-include", name))],
                   timeout=COMPILE_SECONDS_MAX, check=True)
    return ["-include-pch", str(made)]


def compile_in_order(compiler, headers, build):
    """The compiler's complaints; empty when the headers compile one after the other."""
    command = compiler + ["-std=c++20", *WARNINGS, "-fsyntax-only", f"-I{ROOT}",
                          f"-I{build}/generated", "-x", "c++", "-"]
    # Twice: the second include finds a missing or wrong guard.
    source = "".join(f'#include "{header}"\n' * 2 for header in headers)
    run = subprocess.run(command, input=source + "int main() { return 0; }\n", text=True, cwd=ROOT,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=COMPILE_SECONDS_MAX, check=False)
    return "" if run.returncode == 0 else f"{headers[-1]} with {compiler[0]}:\n{run.stdout}"


def main():
    build, *compiler = sys.argv[1:]
    headers = [path.as_posix() for path in repository.files()
               if path.suffix in repository.CPP_HEADERS and path.parts[0] in repository.ROOMS]
    problems = [f"{header} has no line '#pragma once'" for header in headers
                if not has_guard(header)]
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        precompiled = compiler + precompile(compiler, headers, folder)
        work = [(precompiled, chain) for chain in chains(headers)]
        work.append((compiler, [PUBLIC_HEADER]))
        if shutil.which("g++"):
            work.append((["g++"], [PUBLIC_HEADER]))
        said = pool.map(lambda pair: compile_in_order(*pair, build), work)
        problems += [complaint for complaint in said if complaint]
    repository.report("self-contained headers", problems, f"{len(headers)} headers")


if __name__ == "__main__":
    main()
