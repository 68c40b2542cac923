"""Terrace: KV-cache tiers outside the inference engine. docs/client.md is the page to read first.

    with terrace.Client("127.0.0.1:7420") as client:
        space = client.open_namespace("demo", block_tokens=64, groups=[terrace.Group(0, 1 << 18)])
        region = client.register(array)                 # numpy, torch on CPU, any buffer: no copy
        chain = terrace.Chain(keys)
        matched = client.match(space, chain).matched
        results = client.get(space, chain, region.blocks(matched, 1 << 18))
"""

from terrace._async import AsyncClient
from terrace._calls import Client
from terrace._client import Namespace
from terrace._event_types import (Event, EventBatch, EventCause, EventGap, EventKind,
                                  identity_of)
from terrace._library import functions as _functions
from terrace._memory import Chain, Region
from terrace._paged import PagedCache
from terrace._plan import LoadPlan, plan
from terrace._results import (Completion, Lease, LentBlock, LentBlocks, PrefixMatch, Reservation)
from terrace._tensors import (Element, Form, Layout, StoredLayout, StoredOrder, StoredType,
                              layout_of)
from terrace._types import (BLOCK_DTYPE, BLOCK_PIECES_DTYPE, BLOCK_RESULT_DTYPE, FRAGMENT_DTYPE,
                            PIECE_DTYPE, Ack, Block, BlockPieces, BlockResult, BlockResults,
                            BlockStory,
                            DeadlineError, Error, ExpiredError, Fragment, Group, GroupPolicy,
                            GroupPresence, Hints, IncompatibleError, InvalidError, Link,
                            LoadSource, Match, NamespaceInfo, NotDurable, PeerDeadError, Piece,
                            Presence, RetryError, Sample, Status, StopPolicy, Tier,
                            UnsupportedError)

__version__: str = _functions.version

__all__ = [
    "BLOCK_DTYPE", "BLOCK_PIECES_DTYPE", "BLOCK_RESULT_DTYPE", "FRAGMENT_DTYPE", "PIECE_DTYPE",
    "Ack", "AsyncClient", "Block", "BlockPieces", "BlockResult", "BlockResults", "BlockStory",
    "Chain",
    "Client", "Completion", "DeadlineError", "Element", "Error", "Event", "EventBatch",
    "EventCause", "EventGap", "EventKind", "ExpiredError", "Form", "Fragment", "Group",
    "GroupPolicy", "GroupPresence", "Hints", "IncompatibleError", "InvalidError", "Layout",
    "Lease", "LentBlock", "LentBlocks", "Link", "LoadPlan", "LoadSource", "Match", "Namespace",
    "NamespaceInfo", "NotDurable", "PagedCache", "PeerDeadError", "Piece", "PrefixMatch",
    "Presence", "Region", "Reservation", "RetryError", "Sample", "Status", "StopPolicy",
    "StoredLayout", "StoredOrder", "StoredType", "Tier", "UnsupportedError", "identity_of",
    "layout_of", "plan",
]
