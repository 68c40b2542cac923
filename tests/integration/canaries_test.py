#!/usr/bin/env python3
"""Bugs that are put in on purpose stay out of what is shipped, and the search for them is no lie.

usage: canaries_test.py BUILD_FOLDER
"""

import pathlib
import re
import sys
import unittest

from repository import ROOT

BUILD = None
MARK = b"TERRACE_CANARY"  # what the program with canaries reads from the environment
PROGRAMS = ("terraced", "terracectl", "terrace-replay", "terrace-bench", "simulate")


def names_in_header():
    header = (ROOT / "base/canary.h").read_text()
    body = re.search(r"enum class Canary[^{]*\{(.*?)\};", header, re.DOTALL).group(1)
    return re.findall(r"^\s*k(\w+),", body, re.MULTILINE)[1:]  # without kNone


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Canaries(unittest.TestCase):
    def test_no_program_of_this_build_holds_one(self):
        for program in PROGRAMS:
            content = (BUILD / "bin" / program).read_bytes()
            self.assertNotIn(MARK, content, program)
            for name in names_in_header():
                self.assertNotIn(snake(name).encode() + b"\0", content, f"{program}: {name}")

    def test_no_library_of_this_build_holds_one(self):
        libraries = [path for path in BUILD.rglob("libterrace*") if path.suffix in (".a", ".so")]
        self.assertTrue(libraries)
        for library in libraries:
            self.assertNotIn(MARK, library.read_bytes(), library.name)

    def test_the_mark_is_in_the_program_that_holds_them(self):
        # Or the tests above would find nothing anywhere.
        content = (BUILD / "bin/simulate_canaries").read_bytes()
        self.assertIn(MARK, content)
        for name in names_in_header():
            self.assertIn(snake(name).encode() + b"\0", content, name)

    def test_every_canary_has_its_place_in_the_code(self):
        sources = "".join(path.read_text() for room in ("tiers", "cache")
                          for path in (ROOT / room).rglob("*.cc"))
        for name in names_in_header():
            self.assertIn(f"CanaryIs(Canary::k{name})", sources)

    def test_every_source_with_one_is_compiled_once_more(self):
        listed = (ROOT / "tests/sim/CMakeLists.txt").read_text()
        for room in ("base", "cache", "client", "tiers", "tools", "transport"):
            for path in (ROOT / room).rglob("*.*"):
                if path.suffix not in (".cc", ".h") or path.name == "canary.h":
                    continue
                if "CanaryIs(" in path.read_text() or path.name == "canary.cc":
                    self.assertIn(str(path.relative_to(ROOT)), listed)

    def test_at_least_ten(self):
        self.assertGreaterEqual(len(names_in_header()), 10)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop())
    unittest.main()
