// The messages between the coordinator of a replay and its worker processes: plain structures of
// fixed size, one per packet of a local SOCK_SEQPACKET pair. Both ends are the same program, so
// there are no versions; a packet of another size or without the magic is a bug and ends the run.
//
// The coordinator sends orders; a worker answers kReady once after it connected (or kFailed), one
// kDone per order, and to kStop one WorkerSummary; then it exits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/clock.h"
#include "base/result.h"
#include "base/status.h"
#include "base/tier_kind.h"
#include "tools/replay/run/latency_histogram.h"
#include "tools/replay/simulate/operation.h"
#include "tools/replay/trace/block_keys.h"

namespace terrace::replay {

inline constexpr std::uint32_t kMessageMagic = 0x4c50'5254;  // "TRPL"

struct WorkOrder {
  std::uint32_t magic = kMessageMagic;
  WorkKind kind = WorkKind::kStop;
  std::uint64_t request = 0;  ///< index in the trace
};

enum class ReportKind : std::uint32_t { kReady = 0, kDone = 1, kFailed = 2, kSummary = 3 };

struct ReportHeader {
  std::uint32_t magic = kMessageMagic;
  ReportKind kind = ReportKind::kFailed;
};

/// A block that was delivered as right and was not.
struct WrongBlock {
  BlockKey key{};
  std::uint64_t offset = 0;  ///< of the first wrong byte in the block
  std::uint64_t count = 0;   ///< wrong bytes; 0: the bytes are right but valid_tokens is not
  std::uint32_t position = 0;
  TierKind tier = TierKind::kNone;
  std::byte expected{};
  std::byte found{};
  std::uint32_t valid_tokens_expected = 0;
  std::uint32_t valid_tokens_found = 0;
};

/// What one order did, or the text of kReady (the link's name) and kFailed (the reason).
struct WorkReport {
  ReportHeader header;
  WorkKind work = WorkKind::kPrefill;
  std::uint32_t wrong_blocks = 0;
  std::uint64_t request = 0;

  std::uint32_t looked_up = 0;   ///< blocks asked for: match of a prefill, get of a decode
  std::uint32_t matched = 0;     ///< leading blocks that match said are stored
  std::uint32_t hit = 0;         ///< leading blocks that arrived and verified
  std::uint32_t hit_tokens = 0;  ///< tokens in them
  std::uint32_t hits_dram = 0;   ///< of the blocks that arrived: where they lay
  std::uint32_t hits_nvme = 0;
  std::uint32_t missing = 0;           ///< blocks asked of a get that did not arrive
  std::uint32_t calls_failed = 0;      ///< calls that gave no answer per block
  std::uint32_t calls_peer_dead = 0;   ///< of those: the daemon was gone
  std::uint32_t regions_replaced = 0;  ///< memory left alone because a transfer was in doubt
  std::uint32_t get_status[kStatusCodeCount] = {};  ///< blocks by outcome
  std::uint32_t put_status[kStatusCodeCount] = {};
  std::uint64_t bytes_got = 0;
  std::uint64_t bytes_put = 0;
  std::uint64_t bytes_verified = 0;
  std::uint64_t wrong_bytes = 0;
  std::uint64_t get_ns = 0;      ///< time within get calls that delivered something
  std::uint64_t put_ns = 0;      ///< time within put calls that stored something
  std::uint64_t reconnects = 0;  ///< of the worker, since it began
  /// By CLOCK_MONOTONIC, which is the same for all processes: when the match of a prefill was
  /// answered, and when the order had been carried out. They say who found what.
  Nanos looked_up_at = 0;
  Nanos ended_at = 0;
  WrongBlock wrong;     ///< the first, when wrong_blocks > 0
  char text[256] = {};  ///< ends with 0
};

/// The latencies of all calls of a worker.
struct WorkerSummary {
  ReportHeader header;
  LatencyHistogram match;
  LatencyHistogram get;
  LatencyHistogram put;
};

static_assert(std::is_trivially_copyable_v<WorkOrder>);
static_assert(std::is_trivially_copyable_v<WorkReport>);
static_assert(std::is_trivially_copyable_v<WorkerSummary>);

/// Copies as much of `text` as fits.
void SetText(WorkReport& report, std::string_view text);

/// Sends one message whole. @return kPeerDead when the other end is gone.
Status SendMessage(int socket, const void* message, std::size_t bytes);
template <typename Message>
Status Send(int socket, const Message& message) {
  return SendMessage(socket, &message, sizeof message);
}

/// Waits for an order. @return kPeerDead when the coordinator is gone, kInternal for a packet that
/// is no order.
Result<WorkOrder> ReceiveOrder(int socket);

/// One message of a worker: `summary` is set for kSummary, `report` otherwise.
struct WorkerMessage {
  ReportKind kind = ReportKind::kFailed;
  WorkReport report;
  WorkerSummary summary;
};
/// Reads a message that is there already. @return as ReceiveOrder; kRetry when there is none.
Status ReceiveReport(int socket, WorkerMessage& message);

}  // namespace terrace::replay
