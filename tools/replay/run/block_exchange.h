// BlockExchange: a worker's side of the cache. It asks, gets and puts blocks of a chain through the
// public client library, poisons every destination before a get and verifies what arrived.
//
//   E1. A destination holds nothing but wrong bytes when a get is submitted (PoisonBlock).
//   E2. Only blocks whose status is kOk are verified and counted as hits; every such block is.
//   E3. Memory that a transfer might still write into (kInDoubt) is not used again before the
//       client library says that it is quiescent; if it does not in time, other memory is used.
//
// Thread: one. Lifetime: holds the client; the buffer lives as long as it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/terrace.hpp"
#include "tools/replay/run/shared_workload.h"
#include "tools/replay/run/worker_protocol.h"
#include "tools/replay/trace/block_keys.h"

namespace terrace::replay {

/// The keys of one request, in prefix order, in both shapes that are needed.
struct RequestKeys {
  std::vector<BlockKey> keys;
  Chain chain;
  std::uint32_t input_tokens = 0;
};

class BlockExchange {
 public:
  /// Connects, opens the namespace and registers a buffer of batch_blocks blocks.
  /// name: of this client, for the daemon's log. @return the status of the call that failed.
  static Result<std::unique_ptr<BlockExchange>> Open(const RunParameters& parameters,
                                                     const std::string& name);

  /// The namespace descriptor of a run; the coordinator and every worker use the same.
  static NamespaceDescriptor Descriptor(const RunParameters& parameters);
  static ClientOptions Options(const RunParameters& parameters, const std::string& name);

  /// Leading blocks that the cache has; 0 when the call fails (counted in `report`).
  std::uint32_t Match(const RequestKeys& request, WorkReport& report);
  /// Gets blocks [first, first + count) and verifies what arrived. REQUIRES: count <= batch_blocks
  /// (also below). @return how many leading ones of them arrived and are right.
  std::uint32_t Get(const RequestKeys& request, std::uint32_t first, std::uint32_t count,
                    WorkReport& report);
  /// Produces blocks [first, first + count) and puts them. @return how many leading ones of them
  /// are in the cache, or on their way, afterwards.
  std::uint32_t Put(const RequestKeys& request, std::uint32_t first, std::uint32_t count,
                    WorkReport& report);

  /// To be called after each of the calls above: makes sure that the buffer may be used again when
  /// the call left it in doubt. @return why the worker cannot go on: an outcome that is no miss but
  /// a bug or a wrong set-up (kInvalid, kInternal, ...), or too much memory left alone.
  Status Settle(WorkReport& report);

  [[nodiscard]] Client& client() noexcept { return *client_; }
  /// The latencies of all calls so far.
  [[nodiscard]] const WorkerSummary& latencies() const noexcept { return latencies_; }

 private:
  BlockExchange(const RunParameters& parameters, std::unique_ptr<Client> client)
      : parameters_(parameters), client_(std::move(client)) {}

  Status AllocateBuffer();
  [[nodiscard]] Deadline CallDeadline() const;
  [[nodiscard]] std::span<std::byte> Slot(std::uint32_t index) const;
  std::span<const BlockBuffer> Buffers(const RequestKeys& request, std::uint32_t first,
                                       std::uint32_t count);
  void CountFailure(const Status& status, WorkReport& report);
  void NoteOutcome(StatusCode status, std::uint32_t position);
  /// True when the block of `slot` is right.
  bool Verify(const RequestKeys& request, std::uint32_t position, std::uint32_t slot,
              const BlockResult& result, WorkReport& report);

  RunParameters parameters_;
  SteadyClock clock_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  std::span<std::byte> memory_;
  std::vector<BlockBuffer> buffers_;
  WorkerSummary latencies_;
  bool in_doubt_ = false;
  Status broken_;  // the first outcome that must not be
  std::uint32_t regions_replaced_ = 0;
};

}  // namespace terrace::replay
