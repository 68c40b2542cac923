#!/usr/bin/env python3
"""Every call of the C++ client is one of C and of Python, and so is every field of its words.

What a language has under another name, or does not need, stands below with the reason.
"""

import re

import repository
from repository import ROOT

CLIENT = ROOT / "client"
PYTHON = CLIENT / "python/terrace"

# C++ call -> function of C without terrace_.
C_NAMES = {
    "Client": {"Connect": "connect", "Close": "shutdown"},
    "PagedCache": {"Open": "open_paged", "OpenNamespace": "paged_open_namespace",
                   "WriteParts": "paged_write", "SubmitWriteParts": "paged_submit_write"},
}
# A member function that is no call: it reads what the caller has given.
NO_CALLS = {"PagedCache": {"cache", "stored"}}
# Overloads that C, which has none, keeps apart.
OVERLOADS = ["put_tokens", "submit_put_tokens", "put_pieces_tokens", "submit_put_pieces_tokens",
             "match_loads"]
# C++ struct -> C struct, and fields that are elsewhere there: "" where C has no need of them.
STRUCTS = {
    "ClientOptions": ("terrace_client_options", {}),
    "NamespaceDescriptor": ("terrace_descriptor", {}),
    "GroupSpec": ("terrace_group", {}),
    "BlockKind": ("terrace_kind", {}),
    "BlockBuffer": ("terrace_block", {}),
    "MemoryPiece": ("terrace_piece", {}),
    "BlockRange": ("terrace_range", {}),
    "BlockPieces": ("terrace_block_pieces", {"pieces": "piece_count"}),
    "BlockFragment": ("terrace_fragment", {"pieces": "piece_count"}),
    "BlockResult": ("terrace_block_result", {}),
    "GroupPolicy": ("terrace_group_policy", {}),
    "MatchQuery": ("terrace_match_query", {}),
    "GroupPresence": ("terrace_group_presence",
                      {"blocks": "presence", "load_us": "", "sources": "",  # terrace_group_loads
                       "block_bytes": "", "policy": ""}),  # what terrace_plan reads of the result
    "HandoffOptions": ("terrace_handoff_options", {}),
    "PrefetchOptions": ("terrace_prefetch_options", {}),
    "RetainOptions": ("terrace_retain_options", {}),
    "PlanRequest": ("terrace_plan_request", {"overlap": "no_overlap"}),
    "RatePoint": ("terrace_rate_point", {}),
    "LoadPlan": ("terrace_load_plan", {"compute": "meanwhile"}),
    "Sample": ("terrace_sample", {}),
    "NamespaceInfo": ("terrace_namespace_info", {}),
    "BlockStoryInfo": ("terrace_block_story", {}),
}
UNITS = ("", "_ms", "_us")


def plain(path):
    """The text without comments."""
    text = re.sub(r"/\*.*?\*/", "", repository.text(path), flags=re.DOTALL)
    return re.sub(r"//.*", "", text)


def snake(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def public_calls(path, name):
    """The member functions of a class that engines call."""
    body = plain(path)
    body = body[body.index(f"class TERRACE_API {name} {{"):]
    body = body[:body.index(" private:")]
    # Of a declaration: a type, the name, the parameters.
    found = re.findall(r"[\w>&:*] +(\w+)\([^;]*\)[^;(]*;", body)
    return {call for call in found if call not in (name, "operator")}


def fields_of(text, name, opening):
    body = text[text.index(opening.format(name)):]
    body = body[body.index("{") + 1:]
    depth, end = 1, 0
    while depth > 0:
        depth += {"{": 1, "}": -1}.get(body[end], 0)
        end += 1
    body = re.sub(r"\{[^{}]*\}|=[^;]*", "", body[:end - 1])
    return [re.search(r"(\w+)\s*(\[\d+\])?\s*$", line).group(1)
            for line in body.split(";") if line.strip()]


def main():
    headers = "".join(plain(CLIENT / name) for name in
                      ("terrace.h", "terrace_types.h", "terrace_events.h", "terrace_paged.h"))
    functions = set(re.findall(r"\bterrace_([a-z_]+)\(", headers))
    prototypes = set(re.findall(r'^    "(\w+)": ', repository.text(PYTHON / "_library.py"),
                                re.MULTILINE))
    sources = "".join(repository.text(path) for path in sorted(PYTHON.glob("*.py"))
                      if path.name != "_library.py")
    wrong = []
    wanted = set(OVERLOADS)
    for name, path in (("Client", "terrace.hpp"), ("PagedCache", "paged.hpp")):
        calls = public_calls(CLIENT / path, name)
        if len(calls) < 10:
            wrong.append(f"{path}: only {len(calls)} calls of {name} were found")
        for call in sorted(calls - NO_CALLS.get(name, set())):
            prefix = "" if name == "Client" else "paged_"
            function = C_NAMES[name].get(call, prefix + snake(call))
            wanted.add(function)
            if function not in functions:
                wrong.append(f"{path}: {name}::{call} is no call of C: terrace_{function}")
    for function in sorted(wanted & functions):
        if function not in prototypes:
            wrong.append(f"_library.py: terrace_{function} is missing")
        # "submit_" and the name of the call that waits are put together.
        spoken = re.sub(r"^(paged_)?submit_", "", function)
        names = {function, spoken, spoken.removeprefix("paged_"), "paged_" + spoken}
        if not any(f'"{name}"' in sources for name in names):
            wrong.append(f"client/python: nothing calls terrace_{function}")
        if function.startswith("submit_") and "tokens" not in function:
            python = {"submit_register_memory": "submit_register",
                      "submit_allocate_region": "submit_allocate",
                      "submit_renew_lease": "submit_renew",
                      "submit_lend_with": "submit_lend"}.get(function, function)
            if f"def {python}(" not in sources:
                wrong.append(f"client/python: there is no {python}")
    words = "".join(plain(CLIENT / name) for name in ("types.hpp", "explain.hpp"))
    for name, (struct, elsewhere) in STRUCTS.items():
        if f"typedef struct {struct} {{" not in headers:
            wrong.append(f"{name} has no sister in C: {struct}")
            continue
        theirs = fields_of(headers, struct, "typedef struct {} {{")
        for field in fields_of(words, name, "struct {} {{"):
            known = elsewhere.get(field, field)
            if known and not any(known + unit in theirs for unit in UNITS):
                wrong.append(f"{struct}: {name}::{field} is missing")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
