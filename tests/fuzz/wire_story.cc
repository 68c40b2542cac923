#include "tests/fuzz/wire_story.h"

#include <bit>
#include <string>

#include "base/handoff_token.h"
#include "tests/fuzz/wire_parts.h"
#include "transport/codec.h"

namespace terrace::fuzz {
namespace {

MessageHead MakeHead(Input& input) {
  return {input.Byte() % 4U, input.Byte() % 4U, input.Take<std::uint32_t>()};
}

/// What the bits of a head's two bytes say that MakeHead does not look at: 0 of both is nothing.
RequestHints MakeHints(unsigned first, unsigned second) {
  constexpr std::size_t kLengths[] = {0, 1, 7, 63, 64, 65, 300, 5000};
  constexpr std::uint32_t kTurns[] = {0, 1, 2, 65535, 65536, 0xffffffff, 77, 3};
  return {.session = std::string(kLengths[first / 4 % 8], 's'),
          .category = std::string(kLengths[first / 32], 'c'),
          .turn = kTurns[second / 4 % 8],
          .continuation = static_cast<Continuation>(second / 32)};
}

Bytes OpenNamespace(Input& input, const MessageHead& head) {
  return BuildMessage<wire::OpenNamespace>(head, [&](Builder& builder) {
    const auto name = MakeText(builder, input);
    const auto model = MakeText(builder, input);
    const auto groups = MakeGroups(builder, input);
    wire::OpenNamespaceBuilder open(builder);
    open.add_name(name);
    open.add_model(model);
    open.add_weights(model);
    open.add_layout(name);
    open.add_block_tokens(input.Take<std::uint32_t>());
    open.add_shard_count(input.Byte());
    open.add_run_blocks(input.Byte());
    open.add_groups(groups);
    open.add_first_token_s(std::bit_cast<double>(input.Wild()));
    open.add_per_context_s(std::bit_cast<double>(input.Wild()));
    return open.Finish();
  });
}

Bytes RegisterRegion(Input& input, const MessageHead& head) {
  return BuildMessage<wire::RegisterRegion>(head, [&](Builder& builder) {
    const auto key = MakeBytes(builder, input);
    const std::uint64_t base = input.Wild();
    return wire::CreateRegisterRegion(builder, input.Byte() % 4U, base, input.Wild(), key);
  });
}

Bytes RegisterDevice(Input& input, const MessageHead& head) {
  return BuildMessage<wire::RegisterDevice>(head, [&](Builder& builder) {
    const auto gpu = MakeText(builder, input);
    const auto handle = MakeBytes(builder, input);
    const std::uint64_t offset = input.Wild();
    return wire::CreateRegisterDevice(builder, input.Byte() % 4U, gpu, handle, offset,
                                      input.Wild());
  });
}

Bytes Hello(Input& input, const MessageHead& head) {
  return BuildMessage<wire::Hello>(head, [&](Builder& builder) {
    const auto tenant = MakeText(builder, input);
    const auto name = MakeText(builder, input);
    const auto links = MakeBytes(builder, input);
    const auto address = MakeBytes(builder, input);
    wire::HelloBuilder hello(builder);
    hello.add_version_min(input.Byte());
    hello.add_version_max(input.Byte());
    hello.add_incarnation(input.Byte());
    hello.add_tenant(tenant);
    hello.add_name(name);
    hello.add_links(links);
    hello.add_rdma_address(address);
    hello.add_probe_address(input.Wild());
    hello.add_shared_version(input.Byte());
    return hello.Finish();
  });
}

Bytes BlocksReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::BlocksReply>(head, [&](Builder& builder) {
    const auto statuses = MakeNumbers<std::uint8_t>(builder, input);
    const auto tiers = MakeNumbers<std::uint8_t>(builder, input);
    const auto tokens = MakeNumbers<std::uint32_t>(builder, input);
    const auto acks = MakeNumbers<std::uint8_t>(builder, input);
    const auto reasons = MakeNumbers<std::uint8_t>(builder, input);
    const std::uint8_t kind = input.Byte();
    Vector<const wire::Loan*> loans = 0;
    if (kind % 8 != 7) {
      std::vector<wire::Loan> list;
      for (int loan = 0; loan < kind % 8; ++loan) {
        const std::uint32_t extent = input.Byte() % 3U;
        const std::uint32_t edition = input.Byte() % 3U;
        const auto slot = static_cast<std::uint32_t>(input.Wild());
        const std::uint64_t offset = input.Wild();
        list.emplace_back(extent, edition, slot, input.Byte() % 3U, offset, input.Wild());
      }
      loans = builder.CreateVectorOfStructs(list);
    }
    return wire::CreateBlocksReply(builder, statuses, tiers, tokens, acks, reasons, loans);
  });
}

Bytes ExplainReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::ExplainReply>(head, [&](Builder& builder) {
    std::vector<flatbuffers::Offset<wire::BlockStory>> stories;
    for (unsigned story = input.Byte() % 8U; story > 0; --story) {
      const std::uint8_t reason = input.Byte();
      const std::uint8_t tiers = input.Byte();
      const std::uint8_t flags = input.Byte();
      const std::uint64_t bytes = input.Wild();
      stories.push_back(
          wire::CreateBlockStory(builder, reason, tiers, flags, 1, 2, 3, 4, bytes, input.Wild()));
    }
    return wire::CreateExplainReply(builder, builder.CreateVector(stories));
  });
}

Bytes HelloReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::HelloReply>(head, [&](Builder& builder) {
    const auto host = MakeText(builder, input);
    std::vector<flatbuffers::Offset<wire::ShardAddress>> shards;
    for (unsigned shard = input.Byte(); shard > 0; --shard) {
      shards.push_back(wire::CreateShardAddress(builder, host, static_cast<std::uint16_t>(shard)));
    }
    const auto list = builder.CreateVector(shards);
    wire::HelloReplyBuilder reply(builder);
    reply.add_version(input.Byte() % 3);
    reply.add_link(input.Byte() % 6);
    reply.add_shards(list);
    reply.add_server(host);
    reply.add_heartbeat_ms(static_cast<std::uint32_t>(input.Wild()));
    reply.add_heartbeat_idle_ms(static_cast<std::uint32_t>(input.Wild()));
    reply.add_probe_written(input.Wild());
    return reply.Finish();
  });
}

Bytes StatReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::StatReply>(head, [&](Builder& builder) {
    std::vector<flatbuffers::Offset<wire::Sample>> samples;
    for (int sample = input.Byte() % 8; sample > 0; --sample) {
      const auto name = MakeText(builder, input);
      const auto labels = MakeText(builder, input);
      samples.push_back(
          wire::CreateSample(builder, name, labels, static_cast<double>(input.Wild())));
    }
    return wire::CreateStatReply(builder, builder.CreateVector(samples));
  });
}

Bytes NamespacesReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::ListNamespacesReply>(head, [&](Builder& builder) {
    std::vector<flatbuffers::Offset<wire::NamespaceInfo>> list;
    for (int space = input.Byte() % 8; space > 0; --space) {
      const auto tenant = MakeText(builder, input);
      const auto name = MakeText(builder, input);
      const auto fingerprint = MakeBytes(builder, input);
      list.push_back(wire::CreateNamespaceInfo(builder, tenant, name, fingerprint, input.Wild()));
    }
    return wire::CreateListNamespacesReply(builder, builder.CreateVector(list));
  });
}

Bytes EventsReply(Input& input, const MessageHead& head) {
  return BuildMessage<wire::EventsReply>(head, [&](Builder& builder) {
    std::vector<flatbuffers::Offset<wire::BlockEvent>> events;
    for (int event = input.Byte() % 6; event > 0; --event) {
      const auto key = MakeBytes(builder, input);
      const auto parent = MakeBytes(builder, input);
      const auto placement = MakeBytes(builder, input);
      const auto ids = MakeNumbers<std::uint32_t>(builder, input);
      wire::BlockEventBuilder one(builder);
      one.add_sequence(input.Wild());
      one.add_kind(input.Byte());
      one.add_cause(input.Byte());
      one.add_tiers(input.Byte());
      one.add_namespace_id(input.Byte() % 4U);
      one.add_position(input.Take<std::uint32_t>());
      one.add_key(key);
      one.add_parent(parent);
      one.add_placement(placement);
      one.add_token_ids(ids);
      events.push_back(one.Finish());
    }
    const auto list = builder.CreateVector(events);
    std::vector<flatbuffers::Offset<wire::EventSpace>> spaces;
    for (std::uint32_t space = input.Byte() % 4; space > 0; --space) {
      spaces.push_back(wire::CreateEventSpace(builder, space, MakeText(builder, input)));
    }
    const auto names = builder.CreateVector(spaces);
    wire::EventsReplyBuilder reply(builder);
    reply.add_incarnation(input.Byte() % 3U);
    reply.add_restarted(input.Flag());
    reply.add_lost_first(input.Wild());
    reply.add_lost_last(input.Wild());
    reply.add_next(input.Wild());
    reply.add_end(input.Wild());
    reply.add_events(list);
    reply.add_spaces(names);
    reply.add_from_block(input.Wild());
    return reply.Finish();
  });
}

Bytes OfEvents(bool live, Input& input, const MessageHead& head) {
  if (live) {
    return BuildMessage<wire::ReadEvents>(head, [&](Builder& builder) {
      const auto space = MakeText(builder, input);
      const std::uint64_t incarnation = input.Byte() % 3U;
      const std::uint64_t from = input.Wild();
      const auto most = input.Take<std::uint32_t>();
      return wire::CreateReadEvents(builder, incarnation, from, most, space,
                                    input.Take<std::uint32_t>());
    });
  }
  return BuildMessage<wire::ReadSnapshot>(head, [&](Builder& builder) {
    const auto space = MakeText(builder, input);
    const std::uint64_t incarnation = input.Byte() % 3U;
    const std::uint64_t from = input.Wild();
    return wire::CreateReadSnapshot(builder, incarnation, from, input.Take<std::uint32_t>(), space);
  });
}

/// None, any bytes, or a token that is whole but for its version.
flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> MakeHandoff(Builder& builder, Input& input) {
  switch (input.Byte() % 4) {
    case 0: return 0;
    case 1: return MakeBytes(builder, input);
    default: break;
  }
  HandoffTokenParts parts;
  parts.incarnation = input.Byte() % 3U;
  parts.version = input.Byte() % 3U;
  parts.number = {.high = 0, .low = input.Byte() % 4U};
  return BuildBytes(builder, PackHandoffToken(parts));
}

/// What writers of a reserved block say.
Bytes OfReservation(unsigned which, Input& input, const MessageHead& head) {
  switch (which) {
    case 0:
      return BuildMessage<wire::Reserve>(head, [&](Builder& builder) {
        const auto runs = MakeRuns(builder, input);
        const auto tokens = input.Take<std::uint32_t>();
        return wire::CreateReserve(builder, 1, 0, 0, runs, tokens, input.Take<std::uint32_t>());
      });
    case 1:
      return BuildMessage<wire::WriteFragments>(head, [&](Builder& builder) {
        const auto token = MakeBytes(builder, input);
        const auto offsets = MakeNumbers<std::uint64_t>(builder, input);
        const auto pieces = MakePieces(builder, input);
        const auto counts = MakeNumbers<std::uint16_t>(builder, input);
        return wire::CreateWriteFragments(builder, token, offsets, pieces, counts);
      });
    case 2:
      return BuildMessage<wire::CommitReservation>(head, [&](Builder& builder) {
        const auto token = MakeBytes(builder, input);
        return wire::CreateCommitReservation(builder, token, input.Byte());
      });
    default:
      return BuildMessage<wire::AbortReservation>(head, [&](Builder& builder) {
        return wire::CreateAbortReservation(builder, MakeBytes(builder, input));
      });
  }
}

/// What producers and receivers of a hand-off say.
Bytes OfHandoff(unsigned which, Input& input, const MessageHead& head) {
  if (which == 0) {
    return BuildMessage<wire::OpenHandoff>(head, [&](Builder& builder) {
      const auto runs = MakeRuns(builder, input);
      const auto handoff = MakeHandoff(builder, input);
      const auto tokens = MakeNumbers<std::uint32_t>(builder, input);
      const auto patience = input.Take<std::uint32_t>();
      return wire::CreateOpenHandoff(builder, 1, 0, 0, runs, handoff, tokens, patience,
                                     input.Take<std::uint32_t>(), input.Byte());
    });
  }
  if (input.Flag()) {
    return BuildMessage<wire::AckHandoff>(head, [&](Builder& builder) {
      return wire::CreateAckHandoff(builder, MakeHandoff(builder, input));
    });
  }
  return BuildMessage<wire::AbortHandoff>(head, [&](Builder& builder) {
    return wire::CreateAbortHandoff(builder, MakeHandoff(builder, input));
  });
}

Bytes Get(Input& input, const MessageHead& head) {
  return BuildMessage<wire::Get>(head, [&](Builder& builder) {
    const auto runs = MakeRuns(builder, input);
    const auto pieces = MakePieces(builder, input);
    const auto counts = MakeNumbers<std::uint16_t>(builder, input);
    const bool lend = input.Flag();
    const auto lease = input.Take<std::uint32_t>();
    const auto ranges = MakeRanges(builder, input);
    const bool wait = input.Flag();
    return wire::CreateGet(builder, 1, 0, 0, runs, pieces, counts, lend, lease, ranges, wait,
                           MakeHandoff(builder, input));
  });
}

Bytes Put(Input& input, const MessageHead& head) {
  return BuildMessage<wire::Put>(head, [&](Builder& builder) {
    const auto runs = MakeRuns(builder, input);
    const auto pieces = MakePieces(builder, input);
    const auto counts = MakeNumbers<std::uint16_t>(builder, input);
    const auto tokens = MakeNumbers<std::uint32_t>(builder, input);
    const auto ack = input.Byte();
    const auto handoff = MakeHandoff(builder, input);
    const auto ranges = handoff.IsNull() ? 0 : MakeRanges(builder, input);
    const auto ids = MakeNumbers<std::uint32_t>(builder, input);
    const auto id_counts = MakeNumbers<std::uint32_t>(builder, input);
    return wire::CreatePut(builder, 1, 0, 0, runs, pieces, counts, tokens, ack, handoff, ranges,
                           ids, id_counts);
  });
}

}  // namespace

Bytes ClientMessage(Input& input) {
  const std::uint8_t kind = input.Byte();
  Input ahead = input;
  const unsigned first = ahead.Byte();
  const RequestHints hints = MakeHints(first, ahead.Byte());
  MessageHead head = MakeHead(input);
  head.hints = &hints;
  switch (kind % kClientKinds) {
    case 0: return Hello(input, head);
    case 1: return OpenNamespace(input, head);
    case 2: return Get(input, head);
    case 3: return Put(input, head);
    case 4:
      return BuildMessage<wire::Match>(head, [&](Builder& builder) {
        return wire::CreateMatch(builder, 1, 0, 0, MakeRuns(builder, input));
      });
    case 5:
      return BuildMessage<wire::Remove>(head, [&](Builder& builder) {
        return wire::CreateRemove(builder, 1, 0, 0, MakeRuns(builder, input));
      });
    case 8:
      return BuildMessage<wire::MatchGroups>(head, [&](Builder& builder) {
        const auto runs = MakeRuns(builder, input);
        const auto groups = MakeNumbers<std::uint32_t>(builder, input);
        const auto shards = MakeNumbers<std::uint32_t>(builder, input);
        return wire::CreateMatchGroups(builder, 1, groups, shards, runs,
                                       input.Take<std::uint32_t>());
      });
    case 9:
      return BuildMessage<wire::TrimLease>(head, [&](Builder& builder) {
        const auto keep = MakeBytes(builder, input);
        return wire::CreateTrimLease(builder, input.Byte() % 8U, keep);
      });
    case 10:
      if (input.Flag()) {
        return BuildMessage<wire::RenewLease>(head, [&](Builder& builder) {
          const std::uint64_t lease = input.Byte() % 8U;
          return wire::CreateRenewLease(builder, lease, input.Take<std::uint32_t>());
        });
      }
      return BuildMessage<wire::ReleaseLease>(head, [&](Builder& builder) {
        return wire::CreateReleaseLease(builder, input.Byte() % 8U);
      });
    case 6:
      return BuildMessage<wire::Cancel>(
          head, [&](Builder& builder) { return wire::CreateCancel(builder, input.Wild()); });
    case 11:
    case 12:
    case 13:
    case 14: return OfReservation(kind % kClientKinds - 11, input, head);
    case 15:
    case 16: return OfHandoff(kind % kClientKinds - 15, input, head);
    case 17:
    case 18: return OfEvents(kind % kClientKinds == 17, input, head);
    case 19:
      return BuildMessage<wire::Explain>(head, [&](Builder& builder) {
        const auto space = MakeText(builder, input);
        const auto keys = MakeBytes(builder, input);
        const auto lengths = MakeBytes(builder, input);
        const std::uint32_t group = input.Byte();
        return wire::CreateExplain(builder, space, group, input.Byte(), keys, lengths);
      });
    case 20: return RegisterDevice(input, head);
    default: return RegisterRegion(input, head);
  }
}

Bytes DaemonMessage(Input& input) {
  const std::uint8_t kind = input.Byte();
  const MessageHead head = MakeHead(input);
  switch (kind % kDaemonKinds) {
    case 0: return HelloReply(input, head);
    case 1: return BlocksReply(input, head);
    case 2: return StatReply(input, head);
    case 3: return NamespacesReply(input, head);
    case 4:
      return BuildMessage<wire::MatchReply>(head, [&](Builder& builder) {
        const auto tiers = MakeBytes(builder, input);
        const auto sources = MakeBytes(builder, input);
        return wire::CreateMatchReply(builder, tiers, sources, MakeLoadFrom(builder, input));
      });
    case 5:
      return BuildMessage<wire::ErrorReply>(head, [&](Builder& builder) {
        const std::uint8_t status = input.Byte();
        return wire::CreateErrorReply(builder, status, MakeText(builder, input));
      });
    case 6:
      return BuildMessage<wire::OpenNamespaceReply>(head, [&](Builder& builder) {
        return wire::CreateOpenNamespaceReply(builder, input.Byte(), MakeBytes(builder, input));
      });
    case 7:
      return BuildMessage<wire::ClearNamespaceReply>(head, [&](Builder& builder) {
        return wire::CreateClearNamespaceReply(builder, input.Wild());
      });
    case 12:
      return BuildMessage<wire::MatchGroupsReply>(head, [&](Builder& builder) {
        const auto presence = MakeBytes(builder, input);
        const auto tiers = MakeBytes(builder, input);
        const std::uint64_t lease = input.Byte() % 4U;
        const std::uint8_t lease_status = input.Byte();
        const auto sources = MakeBytes(builder, input);
        return wire::CreateMatchGroupsReply(builder, presence, tiers, lease, lease_status, sources,
                                            MakeLoadFrom(builder, input));
      });
    case 8:
      return BuildMessage<wire::ExtentOffer>(head, [&](Builder& builder) {
        const std::uint32_t extent = input.Byte() % 3U;
        const std::uint32_t edition = input.Byte() % 3U;
        return wire::CreateExtentOffer(builder, extent, edition, input.Wild());
      });
    case 9:
      return BuildMessage<wire::ExtentRecall>(head, [&](Builder& builder) {
        const std::uint32_t extent = input.Byte() % 3U;
        return wire::CreateExtentRecall(builder, extent, input.Byte() % 3U);
      });
    case 10:
      return BuildMessage<wire::BlockChecksums>(head, [&](Builder& builder) {
        const auto block = static_cast<std::uint32_t>(input.Wild());
        return wire::CreateBlockChecksums(builder, block,
                                          MakeNumbers<std::uint64_t>(builder, input));
      });
    case 13:
      return BuildMessage<wire::ReserveReply>(head, [&](Builder& builder) {
        const std::uint8_t status = input.Byte();
        return wire::CreateReserveReply(builder, status, MakeBytes(builder, input));
      });
    case 14: return EventsReply(input, head);
    case 15: return ExplainReply(input, head);
    default:
      return BuildMessage<wire::CancelReply>(
          head, [&](Builder& builder) { return wire::CreateCancelReply(builder, input.Wild()); });
  }
}

}  // namespace terrace::fuzz
