#!/usr/bin/env python3
"""The dull rules of the house, kept by a machine so that reviews can be about design.

Prints "file:line: what is wrong, and what to do instead". An exception to a rule stands in this
file, with its reason.
"""

import ast
import pathlib
import re

import repository
from repository import ROOT

COLUMNS_MAX = 100
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# Other people's text, kept as they wrote it.
FOREIGN = {"LICENSE"}

# "path": reason. Longer than FILE_LINES_MAX because one idea needs it.
LONG_FILES = {}
# "path:function": reason. Longer than FUNCTION_LINES_MAX because splitting would hide the order.
LONG_FUNCTIONS = {}
# "path": reason. Included by nothing in the repository.
LONE_HEADERS = {
    "client/terrace.hpp": "the public header: engines include it",
}
# "path": reason. A source that no build has.
LONE_SOURCES = {
    "tools/checks/tidy_scope.cc": "a plugin of clang-tidy, which lint.py builds",
}
# "path": reason. Names a path outside the repository, and works without it.
LOOKS_OUTSIDE = {
    "tests/tools/replay/policy_study_test.cc": "skips where the development traces are not there",
    "tests/tools/replay/trace_test.cc": "skips where the development traces are not there",
}

# Written in two parts, so that this file does not find itself.
LEFTOVER = re.compile(r"\b(?:FIX" r"ME|TO" r"DO|XX" r"X|HA" r"CK)\b")
OUTSIDE = re.compile(r"\.\./shared\b|(?<![\w.])/wo" r"rk/")


class Ban:
    """A call that has no place in some rooms, and what to use instead."""

    def __init__(self, pattern, rooms, instead, except_in=()):
        self.pattern = re.compile(pattern)
        self.rooms = rooms
        self.instead = instead
        self.except_in = except_in

    def applies(self, path):
        name = path.as_posix()
        return path.parts[0] in self.rooms and not name.startswith(tuple(self.except_in))


LIBRARY_ROOMS = ("base", "transport", "tiers", "cache", "client")
EVERY_ROOM = repository.ROOMS
# Threads of a person's program may sleep; examples and tests are such programs.
PERSONS_PROGRAMS = ("client/examples/",)
NOT_A_MEMBER = r"(?<![\w.>:])"
CALL = r"\s*\("

BANS = (
    Ban(r"\bstd::(?:cout|cerr|clog)\b|" + NOT_A_MEMBER +
        r"(?:std::|::)?(?:printf|fprintf|puts|fputs|putchar|perror)" + CALL, LIBRARY_ROOMS,
        "a library prints nothing: return a Status, or count",
        # An invariant that failed: it must be said, and the process ends with it.
        PERSONS_PROGRAMS + ("base/check.cc",)),
    Ban(NOT_A_MEMBER + r"(?:std::|::)?(?:sprintf|vsprintf|strcpy|strcat|gets|strtok)" + CALL,
        EVERY_ROOM, "no bound: use snprintf, std::string or std::string_view"),
    Ban(NOT_A_MEMBER + r"(?:::)?(?:sleep|usleep|nanosleep)" + CALL +
        r"|\bsleep_(?:for|until)" + CALL, LIBRARY_ROOMS,
        "co_await SleepUntil{...} on a reactor; a wait with a deadline on a thread of its own",
        PERSONS_PROGRAMS),
    Ban(NOT_A_MEMBER + r"(?:std::|::)?(?:time|gettimeofday|clock_gettime)" + CALL, LIBRARY_ROOMS,
        "Clock::Now (base/clock.h), so that a simulation owns time", ("base/clock.cc",)),
    Ban(r"_clock::now" + CALL, LIBRARY_ROOMS,
        "Clock::Now (base/clock.h), so that a simulation owns time",
        # The public header turns a person's duration into a deadline.
        PERSONS_PROGRAMS + ("base/clock.cc", "client/types.hpp")),
    Ban(NOT_A_MEMBER + r"(?:std::|::)?(?:rand|srand|drand48)" + CALL +
        r"|\bstd::(?:random_device|mt19937(?:_64)?)\b", EVERY_ROOM,
        "Random (base/random.h), so that a seed repeats a run"),
    Ban(NOT_A_MEMBER + r"(?:::)?(?:socket|connect|accept4?|open|openat|pread|pwrite)" + CALL +
        r"|\bstd::[io]?fstream\b|\bfopen" + CALL, ("cache",),
        "Device, Link or FrameArena: a flow never calls file or socket directly"),
    Ban(r"\bstd::endl\b", EVERY_ROOM, "'\\n'; it flushes"),
    Ban(r"\busing\s+namespace\s+std\s*;", EVERY_ROOM, "write std::"),
    Ban(r"\bstd::regex\b", EVERY_ROOM, "recurses without a bound on long input: parse by hand"),
    Ban(r"\b(?:throw)\b", LIBRARY_ROOMS, "no exceptions: return a Status"),
)


def check_text(path, content, problems):
    """Rules for every text file."""
    name = path.as_posix()
    if content and not content.endswith("\n"):
        problems.append(f"{name}: the last line has no newline")
    if content.endswith("\n\n"):
        problems.append(f"{name}: empty lines at the end")
    prose = path.suffix == ".md"
    data = path.suffix in (".jsonl", ".json", ".xml", ".txt") and path.parts[0] == "tests"
    code = repository.is_cpp(path) or repository.is_script(path, content)
    for number, line in enumerate(content.splitlines(), 1):
        where = f"{name}:{number}"
        if line != line.rstrip():
            problems.append(f"{where}: white space at the end of the line, or a CR")
        if "\t" in line and not data:
            problems.append(f"{where}: a tab; use spaces")
        if len(line) > COLUMNS_MAX and not prose and not data and "http" not in line:
            problems.append(f"{where}: {len(line)} columns, at most {COLUMNS_MAX}")
        if LEFTOVER.search(line):
            problems.append(f"{where}: a leftover; do it, or write an issue")
        if OUTSIDE.search(line) and name not in LOOKS_OUTSIDE:
            problems.append(f"{where}: names a path outside the repository")
    lines = content.count("\n")
    if code and lines > FILE_LINES_MAX and name not in LONG_FILES:
        problems.append(f"{name}: {lines} lines, at most {FILE_LINES_MAX}: one idea per file")


def check_bans(path, bare, problems):
    for number, line in enumerate(bare.splitlines(), 1):
        for ban in BANS:
            found = ban.pattern.search(line)
            if found and ban.applies(path):
                problems.append(f"{path}:{number}: banned '{found.group(0).strip()}': "
                                f"{ban.instead}")


def check_header(path, content, problems):
    lines = content.splitlines()
    if not lines or not lines[0].startswith("//"):
        problems.append(f"{path}:1: a header starts with what it is about, as a comment")
    code = [line for line in lines if line and not line.startswith("//")]
    if not code or code[0] != "#pragma once":
        problems.append(f"{path}: '#pragma once' must be the first line of code")


COROUTINE = re.compile(r"(?<![\w<:])(?:terrace::)?Task<[^;{}()]*>\s+(\w+)\(([^;{}]*?)\)\s*"
                       r"(?:const\s*)?(?:override\s*|final\s*|=\s*0\s*)*[;{]")
MAY_BIND_A_TEMPORARY = re.compile(r"\bconst\s+[\w:<>, ]+&|\bconst&|&&")
SAYS_LIFETIME = re.compile(r"outliv|lives? (?:longer|until|as long)|valid (?:until|while|during)")


def check_coroutine_parameters(path, content, bare, problems):
    """A parameter that may bind a temporary needs a word about who outlives the task.

    clang-tidy's own check would refuse every reference; here `Link& link` is fine, because it
    binds no temporary, and `const Request& request` is fine where the comment above it, or above
    its group of declarations, says so. An override's contract stands at its base; an out-of-line
    definition's at its declaration.
    """
    lines = content.splitlines()
    for match in COROUTINE.finditer(bare):
        if not MAY_BIND_A_TEMPORARY.search(match.group(2)) or "override" in match.group(0):
            continue
        number = bare.count("\n", 0, match.start()) + 1
        above = []
        for line in reversed(lines[max(0, number - 13):number - 1]):
            if not line.strip():
                break
            above.append(line if line.strip().startswith("//") else "")
        if not SAYS_LIFETIME.search(" ".join(above)):
            problems.append(f"{path}:{number}: coroutine {match.group(1)} takes what may be a "
                            "temporary: take a value, or say above it what outlives the task")


NAMESPACE = re.compile(r"\b(?:namespace|extern\s*)\b[^()=]*$")
TYPE = re.compile(r"\b(?:class|struct|union|enum)\b[^()=]*$")
ALIGNED = re.compile(r"\b(?:alignas|__attribute__|TERRACE_API)\b\s*(?:\((?:[^()]|\([^()]*\))*\))?")


def functions(bare):
    """(first line, last line, header) of each function, from code without comments and strings.

    A brace opens a namespace, a type, or, where its header has a parameter list, a function; what
    is nested in a function belongs to it. Preprocessor lines are not part of the text.
    """
    bare = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  bare, flags=re.MULTILINE)
    scopes = []  # (kind, first line, header)
    start, line = 0, 1
    header_line = None
    for position, character in enumerate(bare):
        if character == "\n":
            line += 1
        elif character == "{":
            header = " ".join(bare[start:position].split())
            first = header_line or line
            inside = any(kind == "function" for kind, _, _ in scopes)
            plain = ALIGNED.sub("", re.sub(r"\btemplate\s*<[^{}]*?>\s*(?=\w)", "", header))
            if inside:
                kind = "inner"
            elif NAMESPACE.search(plain) or TYPE.search(plain):
                kind = "scope"
            elif "(" in plain:
                kind = "function"
            else:
                kind = "inner"  # an initialiser
            scopes.append((kind, first, header))
            start, header_line = position + 1, None
        elif character == "}":
            if scopes:
                kind, first, header = scopes.pop()
                if kind == "function":
                    yield first, line, header
            start, header_line = position + 1, None
        elif character == ";":
            start, header_line = position + 1, None
        elif header_line is None and not character.isspace():
            header_line = line


def function_name(header):
    """The word before the parameter list; TEST(Suite, Case) gives "Suite.Case"."""
    test = re.match(r"(?:TYPED_)?TEST(?:_[FP])?\s*\(\s*(\w+)\s*,\s*(\w+)", header)
    if test:
        return f"{test.group(1)}.{test.group(2)}"
    found = re.search(r"([~\w:]+)\s*\(", header)
    return found.group(1) if found else header[:40]


def check_function_lengths(path, bare, problems):
    for first, last, header in functions(bare):
        lines = last - first + 1
        name = function_name(header)
        if lines > FUNCTION_LINES_MAX and f"{path}:{name}" not in LONG_FUNCTIONS:
            problems.append(f"{path}:{first}: {name} has {lines} lines, at most "
                            f"{FUNCTION_LINES_MAX}")


def check_python(path, content, problems):
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        problems.append(f"{path}:{error.lineno}: {error.msg}")
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                problems.append(f"{path}:{node.lineno}: {node.name} has {lines} lines, at most "
                                f"{FUNCTION_LINES_MAX}")


def built_sources(everything):
    """The .cc files that some CMakeLists.txt names, relative to the root."""
    named = set()
    for path in everything:
        if path.name != "CMakeLists.txt":
            continue
        content = re.sub(r"#.*", "", repository.text(path))
        folder = ROOT / path.parent
        words = set(re.findall(r"[\w./${}+-]+", content))
        for word in words:
            if not word.endswith(repository.CPP_SOURCES):
                continue
            word = re.sub(r"\$\{(?:PROJECT|CMAKE)_SOURCE_DIR\}", str(ROOT), word)
            word = word.replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")
            names = [word]
            if "${" in word:  # foreach(test a_test b_test) ... SOURCES ${test}.cc
                names = [re.sub(r"\$\{\w+\}", other, word) for other in words if "$" not in other]
            for name in names:
                resolved = pathlib.Path(folder / name).resolve()
                if resolved.is_relative_to(ROOT):
                    named.add(resolved.relative_to(ROOT).as_posix())
    return named


def check_dead_files(everything, contents, problems):
    named = built_sources(everything)
    included = set()
    for path, content in contents.items():
        if repository.is_cpp(path):
            included |= set(re.findall(r'#include\s+["<]([^">]+)[">]', content))
    for path in everything:
        name = path.as_posix()
        if path.suffix in repository.CPP_SOURCES and name not in named \
                and name not in LONE_SOURCES:
            problems.append(f"{name}: no CMakeLists.txt names it: build it or delete it")
        if path.suffix in repository.CPP_HEADERS and name not in included \
                and name not in LONE_HEADERS:
            problems.append(f"{name}: nothing includes it: use it or delete it")


def main():
    problems = []
    everything = [path for path in repository.files() if path.as_posix() not in FOREIGN]
    contents = {path: repository.text(path) for path in everything}
    contents = {path: content for path, content in contents.items() if content is not None}
    for path, content in contents.items():
        check_text(path, content, problems)
        if repository.is_cpp(path):
            bare = repository.without_comments_and_strings(content)
            check_bans(path, bare, problems)
            check_function_lengths(path, bare, problems)
            check_coroutine_parameters(path, content, bare, problems)
        if path.suffix in repository.CPP_HEADERS:
            check_header(path, content, problems)
        if path.suffix == ".py":
            check_python(path, content, problems)
    check_dead_files(everything, contents, problems)
    repository.report("tidy", sorted(problems), f"{len(contents)} files")


if __name__ == "__main__":
    main()
