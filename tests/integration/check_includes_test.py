#!/usr/bin/env python3
"""The tests of includes are tested: one that finds nothing would not be seen."""

import pathlib
import tempfile
import unittest

import includes_test
import repository
import self_contained_headers_test


class Includes(unittest.TestCase):
    """What a file names must come with what it includes: grouped sources compile without."""

    HEADERS = {"base/a.h": "namespace n {\nstruct Thing {\n  int Part;\n};\n"
                           "constexpr int kMost = 1;\nint Half(int n);\n}\n",
               "base/b.h": '#include "base/a.h"\n#include <string>\n',
               "base/c.h": "namespace n {\nclass Other;\n}\n"}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(self.forget)
        root = pathlib.Path(folder.name)
        for module in (includes_test, repository):
            self.addCleanup(setattr, module, "ROOT", module.ROOT)
            module.ROOT = root
        self.forget()
        (root / "base").mkdir()
        for name, text in self.HEADERS.items():
            (root / name).write_text(text)

    @staticmethod
    def forget():
        for function in (includes_test.plain, includes_test.closure, includes_test.words):
            function.cache_clear()

    def missing(self, text):
        (repository.ROOT / "base/own.cc").write_text(text)
        self.forget()
        found = includes_test.missing_of_ours("base/own.cc", includes_test.declared(self.HEADERS))
        closures = {"string": {"string", "string_view"}, "vector": {"vector"}}
        return [word for word, _ in
                found + includes_test.missing_of_standard("base/own.cc", closures)]

    def test_a_type_a_constant_or_a_function_of_a_header_that_is_not_included(self):
        self.assertEqual(self.missing("Thing F();\n"), ["Thing"])
        self.assertEqual(self.missing("int F() { return kMost; }\n"), ["kMost"])
        self.assertEqual(self.missing("int F() { return Half(2); }\n"), ["Half("])
        self.assertEqual(self.missing('#include "base/c.h"\nOther* F(Thing& t);\n'), ["Thing"])

    def test_a_name_of_std_that_comes_with_no_header(self):
        self.assertEqual(self.missing("std::string_view F();\n"), ["std::string_view"])
        self.assertEqual(self.missing("#include <vector>\nstd::string F();\n"), ["std::string"])

    def test_what_comes_by_a_header_or_is_ones_own_is_there(self):
        for text in ('#include "base/b.h"\nThing F(std::string_view text);\n',
                     "struct Thing {};\nThing F();\n", "void F() { a.Thing = x->kMost; }\n",
                     "int Half(int n) { return n; }\nint F() { return Half(2) + a.Half(1); }\n",
                     "// Thing\nauto s = \"std::string kMost\";\n",
                     "int F() { constexpr int kMost = 2; return kMost + Thing(1); }\n"):
            self.assertEqual(self.missing(text), [], text)

    def test_headers_are_compiled_after_nothing_but_what_they_include(self):
        found = self_contained_headers_test.chains(list(self.HEADERS))
        self.assertEqual(found, [["base/a.h", "base/b.h"], ["base/c.h"]])


if __name__ == "__main__":
    unittest.main()
