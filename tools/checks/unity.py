#!/usr/bin/env python3
"""Says which sources of a target are compiled as one: groups whose names cannot meet.

Usage: unity.py TARGETS_FILE OUTPUT_FILE

Most of a compiler's time goes to the headers and templates that sources share, so that sources
compiled as one take a fraction of it. What a source keeps to itself (in an anonymous namespace, or
as an alias) must then be no word of another one of its group, nor of a header that it includes.

TARGETS_FILE has a line for each target: "DIRECTORY;TARGET;SOURCE;SOURCE...", with absolute paths.
OUTPUT_FILE becomes CMake code that gives each target its groups.
"""

import functools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES_MAX = 8  # of a group: two cores have something to do, and 8 files compile in 10 s

WORD = re.compile(r"[A-Za-z_]\w+")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
DIRECTIVE = re.compile(r"^#\s*define\s+(\w+)", re.MULTILINE)
ALIAS = re.compile(r"^(using|namespace) (\w+) = ([^;]+);", re.MULTILINE)
BORROWED = re.compile(r"^using ((?:\w+::)*(\w+));", re.MULTILINE)
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\[\[.*?\]\] ?', re.DOTALL)
END = "}  // namespace\n"  # of an anonymous one, as clang-format writes it
HIDDEN = re.compile(r"^namespace \{$(.*?)^\}  @end$", re.MULTILINE | re.DOTALL)
TEMPLATE = re.compile(r"^template <[^\n]*>\s*", re.MULTILINE)
# In an anonymous namespace: a type, or what stands before the first '(', '=', '{', '[' or ';'.
TYPE = re.compile(r"^(?:class|struct|enum class|enum|union) +(?:alignas\([^)]*\) )?(\w+)",
                  re.MULTILINE)
VALUE = re.compile(r"^(?!using|namespace|class|struct|enum|union|template|static_assert|return)"
                   r"[A-Za-z_][^\n;={(\[]*?(\w+)\s*[;={(\[]", re.MULTILINE)
MAIN = re.compile(r"^int (main)\(", re.MULTILINE)
STATIC = re.compile(r"^static [^\n;={(\[]*?(\w+)\s*[;={(\[]", re.MULTILINE)
MACRO = re.compile(r"TEST(_[FP])?|TYPED_TEST\w*|[A-Z_]+TEST_SUITE\w*|MATCHER\w*")
OUTSIDE = re.compile(r"^[A-Za-z_#].*", re.MULTILINE)  # what a header declares in a namespace


@functools.cache
def read(path):
    """(text without comments and strings, headers of the repository that it names)."""
    try:
        text = path.read_text()
    except OSError:  # a header that the build makes
        return "", ()
    included = (ROOT / name for name in INCLUDE.findall(text))
    return NOISE.sub("", text.replace(END, "}  @end\n")), tuple(included)


def hidden_names(text):
    """{name: what it is} of what a source declares for itself; of equal namespace aliases equal."""
    names = set(DIRECTIVE.findall(text)) | set(STATIC.findall(text)) | set(MAIN.findall(text))
    for part in HIDDEN.findall(text):
        part = TEMPLATE.sub("", part)
        names.update(TYPE.findall(part))
        names.update(VALUE.findall(part))
    hidden = {name: object() for name in names if not MACRO.fullmatch(name)}
    for kind, name, meant in ALIAS.findall(text):
        hidden[name] = meant if kind == "namespace" else object()
    return hidden


@functools.cache
def words_of_header(path):
    return frozenset(WORD.findall(" ".join(OUTSIDE.findall(read(path)[0]))))


@functools.cache
def headers_of(path):
    """All headers of the repository that a file includes, by whatever way."""
    found, waiting = set(), list(read(path)[1])
    while waiting:
        header = waiting.pop()
        if header not in found:
            found.add(header)
            waiting += read(header)[1]
    return found


class Part:
    """What the sources of a group, or one source, declare and use."""

    def __init__(self, source):
        text = read(source)[0]
        self.sources = [source]
        self.words = set(WORD.findall(text))
        self.hidden = hidden_names(text)
        self.borrowed = {name: whole for whole, name in BORROWED.findall(text)}
        self.headers = headers_of(source)
        # Compiled once more, with bugs in them, for a program that takes no other object of theirs.
        self.has_canaries = ROOT / "base/canary.h" in self.headers
        # Inside `terrace`, `testing` is GoogleTest's until a header opens terrace::testing.
        self.has_testing = "terrace::testing" in text or any(
            "terrace::testing" in read(header)[0] for header in self.headers)

    def hides_from(self, other):
        """Whether a name that is hidden here means something else there."""
        for name in self.hidden.keys() & (other.words | other.borrowed.keys()):
            if other.hidden.get(name) != self.hidden[name]:
                return True
        return any(not words_of_header(header).isdisjoint(self.hidden) for header in other.headers)

    def takes(self, other):
        if (self.has_testing, self.has_canaries) != (other.has_testing, other.has_canaries):
            return False
        if any(other.borrowed.get(name, whole) != whole for name, whole in self.borrowed.items()):
            return False
        if self.hides_from(other) or other.hides_from(self):
            return False
        self.sources += other.sources
        self.words |= other.words
        self.hidden |= other.hidden
        self.borrowed |= other.borrowed
        self.headers = self.headers | other.headers
        return True


def groups(sources, files_max=FILES_MAX):
    """The sources in groups of at most files_max, each source in the first that takes it."""
    found = []
    for source in sources:
        part = Part(source)
        for group in found:
            if len(group.sources) < files_max and group.takes(part):
                break
        else:
            found.append(part)
    return [group.sources for group in found]


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    lines = []
    seen = set()  # a source's group is told to its folder: that of its first target is good for all
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        folder, target, *names = line.split(";")
        sources = [pathlib.Path(name) for name in names if (folder, name) not in seen]
        seen.update((folder, name) for name in names)
        lines.append(f"set_target_properties({target} PROPERTIES UNITY_BUILD ON "
                     "UNITY_BUILD_MODE GROUP)")
        for number, group in enumerate(groups(sources)):
            if len(group) > 1:
                lines.append(f"set_source_files_properties({' '.join(map(str, group))} "
                             f"DIRECTORY {folder} PROPERTIES UNITY_GROUP {target}_{number})")
    pathlib.Path(sys.argv[2]).write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
