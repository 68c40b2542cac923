#!/usr/bin/env python3
"""Every source and header includes what it names, by itself or by a header that it includes.

Usage: includes_test.py COMPILER

Sources are compiled in groups, after precompiled headers (cmake/unity.cmake, precompiled.cmake),
where a neighbour's include would do. So this looks at words: types, constants, functions and macros
that a header of the repository declares in a namespace, and names of the standard library that
stand below. The compiler says which standard headers include which. When each of 704 includes of
ours was taken from its source, this complained of 602; the preset `debug` sees the rest.
"""

import concurrent.futures
import functools
import os
import re
import subprocess
import sys

import repository
from import_direction_test import MAY_IMPORT
from repository import ROOT

COMPILER_SECONDS_MAX = 60

# The names that we use most of each, with the headers that declare them.
STANDARD = {
    "algorithm": "all_of any_of none_of sort stable_sort max_element min_element clamp rotate "
                 "ranges::sort ranges::find ranges::find_if ranges::all_of ranges::any_of "
                 "ranges::none_of ranges::fill ranges::copy ranges::max ranges::min "
                 "ranges::reverse ranges::equal ranges::count ranges::count_if min max lower_bound "
                 "upper_bound find_if copy_n fill_n binary_search remove_if",
    "array": "array", "atomic": "atomic atomic_bool", "bit": "bit_cast bit_ceil popcount bit_width",
    "charconv": "from_chars to_chars",
    "chrono": "chrono", "cmath": "sqrt pow log2 lround ceil floor isnan isfinite",
    "condition_variable": "condition_variable condition_variable_any",
    "coroutine": "coroutine_handle suspend_always suspend_never noop_coroutine",
    "cstdio": "fprintf printf snprintf fopen fputs", "cstdlib": "getenv abort strtoull",
    "cstring": "memcpy memset memcmp memmove strlen strerror",
    "deque": "deque", "exception": "exception current_exception",
    "filesystem": "filesystem", "fstream": "ifstream ofstream fstream",
    "functional": "function hash bind_front greater", "iostream": "cout cerr cin",
    "iterator": "back_inserter istreambuf_iterator make_move_iterator",
    "limits": "numeric_limits", "list": "list", "map": "map multimap",
    "memory": "unique_ptr shared_ptr weak_ptr make_unique make_shared enable_shared_from_this",
    "mutex": "mutex lock_guard unique_lock scoped_lock call_once", "new": "bad_alloc nothrow",
    "numeric": "accumulate iota gcd", "optional": "optional nullopt", "random": "mt19937_64",
    "regex": "regex smatch", "set": "set multiset", "shared_mutex": "shared_mutex shared_lock",
    "span": "span as_bytes as_writable_bytes",
    "sstream": "ostringstream istringstream stringstream",
    "string": "string to_string getline stoi stoull", "string_view": "string_view",
    "system_error": "error_code errc generic_category", "thread": "thread jthread this_thread",
    "tuple": "tuple tie make_tuple", "unordered_map": "unordered_map",
    "unordered_set": "unordered_set", "utility": "move exchange pair swap forward",
    "variant": "variant monostate visit holds_alternative", "vector": "vector",
}
HEADER_OF = {name: header for header, names in STANDARD.items() for name in names.split()}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)
STD_NAME = re.compile(r"\bstd::((?:ranges::)?\w+)")
TEMPLATE = re.compile(r"^template <[^\n]*>\s*", re.MULTILINE)
# What stands in a namespace of a header begins its line: clang-format indents no namespace.
KIND = r"(?:class|struct|enum class|enum|union)"
TYPE = re.compile(rf"^{KIND} +(?:alignas\([^)]*\) )?(?:\[\[\w+\]\] )?(?:TERRACE_\w+ )?"
                  r"([A-Z]\w{2,})|^using ([A-Z]\w{2,}) =", re.MULTILINE)
CONSTANT = re.compile(r"^(?:inline )?constexpr [^\n;={(\[]*?\b(k[A-Z]\w+)\s*[;={(\[]",
                      re.MULTILINE)
FUNCTION = re.compile(r"^(?:\[\[nodiscard\]\] )?[A-Za-z_][\w:<>,&* ]*?[ &*>]([A-Z]\w{2,})\(",
                      re.MULTILINE)
MACRO = re.compile(r"^#define ([A-Z]\w+)\(", re.MULTILINE)
CALL = re.compile(r"(?:[(!,={;&|?+\-*/<}]|(?<!:):|\b(?:return|co_await|co_return|else))\s*"
                  r"([A-Z]\w{2,})\(")
DEFINED = re.compile(r"[\w>&*] +[&*]?([A-Z]\w{2,})\(")
KEYWORD = re.compile(r"\b(?:return|co_await|co_return|else)\b|&&")
# A word that is no member's and no function's, and not of a class or a namespace of others.
WORD = re.compile(r"(?<![\w.])(?<!->)(?<!::)\b([A-Z]\w{2,}|k[A-Z]\w+)\b(?! ?\()")
# What a file declares wherever it pleases.
OWN = re.compile(r"\b(?:class|struct|enum|union|using|typename|concept) +(?:TERRACE_\w+ )?"
                 r"([A-Z]\w+)|(?<!return) (k[A-Z]\w+)\s*(?:=\s|\{|\[)|#\s*define +(\w+)")
ENUMERATION = re.compile(r"\benum\b[^{;]*\{([^}]*)\}")


@functools.cache
def plain(name):
    """(the text without comments and strings, headers of ours that it names, those of others)."""
    content = repository.text(name) if (ROOT / name).is_file() else None
    if content is None:
        return "", (), ()
    ours = tuple(found for quote, found in INCLUDE.findall(content) if quote == '"')
    others = tuple(found for quote, found in INCLUDE.findall(content) if quote == "<")
    return repository.without_comments_and_strings(content), ours, others


@functools.cache
def closure(name):
    """Files of ours that a file consists of, itself among them."""
    found, waiting = {name}, [name]
    while waiting:
        for header in plain(waiting.pop())[1]:
            if header not in found:
                found.add(header)
                waiting.append(header)
    return frozenset(found)


@functools.cache
def words(name):
    return frozenset(re.findall(r"\w+", plain(name)[0]))


def declared(headers):
    """{name, or name( of a function: [header]} of what headers declare in namespaces."""
    where = {}
    for header in headers:
        text = TEMPLATE.sub("", plain(header)[0])
        names = {name for pair in TYPE.findall(text) for name in pair if name}
        names.update(CONSTANT.findall(text))
        for name in names | {f"{name}(" for name in FUNCTION.findall(text) + MACRO.findall(text)}:
            where.setdefault(name, []).append(header)
    return where


def standard_closures(compiler, headers):
    """{standard or other header: names of all headers that come with it}."""
    def ask(header):
        run = subprocess.run([compiler, "-std=c++20", "-M", "-x", "c++", "-"],
                             input=f"#include <{header}>\n", text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=COMPILER_SECONDS_MAX, check=False)
        return {path.rpartition("/")[2] for path in run.stdout.replace("\\\n", " ").split()
                if "/bits/" not in path} | {header}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(headers, pool.map(ask, headers)))


def missing_of_ours(name, where):
    """[(name, headers that declare it)] that a file names without any of them."""
    text = plain(name)[0]
    own = {word for found in OWN.findall(text) for word in found if word}
    own.update(word for values in ENUMERATION.findall(text) for word in re.findall(r"\w+", values))
    known = frozenset().union(*(words(part) for part in closure(name) if part != name))
    rooms = MAY_IMPORT[name.split("/", 1)[0]]
    own.update(DEFINED.findall(KEYWORD.sub("=", text)))
    named = {f"{word}(" for word in set(CALL.findall(text)) - own - known}
    found = []
    for word in sorted(named | set(WORD.findall(text)) - own - known):
        headers = [header for header in where.get(word, ()) if header.split("/", 1)[0] in rooms]
        if headers and name not in headers:
            found.append((word, headers))
    return found


def missing_of_standard(name, closures):
    """[(name, header)] of std that comes with no header that a file includes."""
    used = {word for word in STD_NAME.findall(plain(name)[0]) if word in HEADER_OF}
    come = set().union(*(closures[header] for part in closure(name) for header in plain(part)[2]),
                       set())
    return sorted((f"std::{word}", HEADER_OF[word]) for word in used if HEADER_OF[word] not in come)


def main():
    sources = [path.as_posix() for path in repository.files()
               if path.suffix in (".cc", ".h", ".hpp") and path.parts[0] in repository.ROOMS]
    where = declared([name for name in sources if not name.endswith(".cc")])
    others = sorted({header for name in sources for header in plain(name)[2]})
    closures = standard_closures(sys.argv[1], others)
    problems = []
    for name in sources:
        for word, headers in missing_of_ours(name, where):
            problems.append(f"{name}: {word} without {' or '.join(headers)}")
        for word, header in missing_of_standard(name, closures):
            problems.append(f"{name}: {word} without <{header}>")
    repository.report("includes", problems, f"{len(sources)} files")


if __name__ == "__main__":
    main()
