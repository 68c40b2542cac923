// Link: how the daemon moves bytes between its frames and one client's memory.
//
// Model. One Link is one client's connection to one reactor. The daemon moves the data or decides
// where it lands; a client never holds a key or a writable mapping to the arena. Control messages
// (transport/protocol.fbs) travel beside the data, in order.
//
//   L1. Push and Pull end at `deadline` (plus what one slice of 1 MiB takes) whatever the peer
//       does, with kTimeout or kPeerDead.
//   L2. The Hold given to Push or Pull is released only when no device, socket or NIC touches
//       the bytes any more, which may be after the call has ended (quarantine).
//   L3. After Push returned kOk the client finds exactly those bytes at the destination, or its
//       own check of the checksums fails; after Pull returned kOk the frame holds the client's
//       bytes, and `checksums` of the transfer are true of them.
//   L4. A Link that has ended answers kPeerDead to everything, at once.
//   L5. A lent frame is held until its lease ends: given back, too old, or the client is gone. Who
//       reads after that finds out (transport/shm/shared_page.h, P2).
//
// All of it runs on the reactor's thread. Implementations: transport/ (tcp, shm, rdma) and
// base/sim_link.h; one test suite runs over all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/device_region.h"
#include "base/frame_range.h"
#include "base/result.h"
#include "base/status.h"
#include "base/task.h"
#include "base/transfer_meter.h"

namespace terrace {

enum class LinkKind : std::uint8_t { kNone = 0, kTcp = 1, kShm = 2, kRdma = 3, kSim = 4 };
/// "none", "tcp", "shm", "rdma", "sim".
std::string_view LinkKindName(LinkKind kind) noexcept;

/// Bytes that stay where they are until the Hold is destroyed: a pin on a frame. Move-only.
class Hold {
 public:
  /// Who gets the bytes back. Called on the reactor's thread, exactly once per Hold.
  class Owner {
   public:
    virtual void Release(std::uint64_t token) noexcept = 0;

   protected:
    ~Owner() = default;
  };

  Hold() noexcept = default;
  /// `owner` outlives the Hold.
  Hold(std::span<std::byte> bytes, Owner* owner, std::uint64_t token) noexcept
      : bytes_(bytes), owner_(owner), token_(token) {}
  Hold(Hold&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})),
        owner_(std::exchange(other.owner_, nullptr)),
        token_(other.token_) {}
  Hold& operator=(Hold&& other) noexcept {
    if (this != &other) {
      Drop();
      bytes_ = std::exchange(other.bytes_, {});
      owner_ = std::exchange(other.owner_, nullptr);
      token_ = other.token_;
    }
    return *this;
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { Drop(); }

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// Shows `bytes` of `offset` on alone; the same is held. REQUIRES: they lie in bytes().
  void Narrow(std::uint64_t offset, std::uint64_t bytes) noexcept {
    bytes_ = bytes_.subspan(offset, bytes);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return owner_ != nullptr; }

 private:
  void Drop() noexcept {
    if (owner_ != nullptr) std::exchange(owner_, nullptr)->Release(token_);
  }
  std::span<std::byte> bytes_;
  Owner* owner_ = nullptr;
  std::uint64_t token_ = 0;
};

/// A piece of the client's registered memory, as the client named it. Not trusted: a Link checks
/// it against the regions the client registered.
struct Piece {
  std::uint32_t region = 0;
  std::uint64_t offset = 0;  ///< bytes from the region's start
  std::uint64_t length = 0;  ///< bytes
};

/// One block of one request. `pieces` together are exactly as long as what moves.
struct BlockTransfer {
  std::uint64_t request_id = 0;   ///< the client's number of the request
  std::uint32_t block = 0;        ///< index of the block within the request
  std::span<const Piece> pieces;  ///< valid until the call has ended
  Nanos deadline = 0;             ///< on the scheduler's clock
  FrameRange range{};             ///< Push: what of the source moves; was checked. Pull: not used.
};

/// Extents of this number and above are memory of GPUs, those below memory of the host.
inline constexpr std::uint32_t kDeviceExtentFirst = 1U << 31;

/// Where a frame lies, for who maps the extent (a memfd, or an allocation on a GPU) that it is part
/// of.
struct LentPlace {
  std::uint32_t extent = 0;
  std::uint32_t edition = 0;  ///< of the extent's memory; 0: nowhere
  std::uint64_t offset = 0;   ///< bytes from the extent's start
};

/// The memory of an extent, to be passed to a client at once; the descriptor stays its owner's.
struct SharedExtent {
  int descriptor = -1;  ///< can be mapped for reading only; of a GPU's memory see `device`
  std::uint64_t bytes = 0;
  /// Memory of a GPU: what is to be mapped. The client keeps `descriptor` open for as long as it
  /// has it mapped, by which the owner knows. Valid as long as the descriptor.
  const DeviceExport* device = nullptr;
};

/// Who owns the extents.
class ExtentSource {
 public:
  /// kExpired when the extent is of another edition by now; kUnsupported when its memory cannot be
  /// sealed against writing, kIo with errno.
  virtual Result<SharedExtent> ShareExtent(std::uint32_t extent, std::uint32_t edition) = 0;

 protected:
  ~ExtentSource() = default;
};

/// A frame that a client may read until the lease ends: it, or the daemon, gives it back.
struct Loan {
  LentPlace place;
  std::uint64_t bytes = 0;  ///< 0: nothing was lent
  std::uint32_t slot = 0;   ///< of the client's leases
  std::uint32_t generation = 0;
};

class Link {
 public:
  virtual ~Link() = default;

  [[nodiscard]] virtual LinkKind kind() const noexcept = 0;
  /// False once the peer died or Close was called.
  [[nodiscard]] virtual bool Alive() const noexcept = 0;

  /// Copies `source`, or the transfer's range of it, into the client's memory. `checksums`: one
  /// XXH3-64 per 256 KiB of the whole source (base/checksum.h), which outlive the call. Where the
  /// client verifies they are sent along; of a range, the sums of what is sent, made so that they
  /// are worth as much (base/frame_range.h): kCorrupt when the source is not what `checksums` say.
  /// Status as in L1 and L3; kInvalid when a piece lies outside its region (nothing is then
  /// written).
  virtual Task<Status> Push(Hold source, BlockTransfer transfer,
                            std::span<const std::uint64_t> checksums) = 0;

  /// Copies the client's memory into `destination`, and writes the block's checksums, computed
  /// over what arrived in the frame, into `checksums` (PieceCount(size) entries, which outlive the
  /// call). kCorrupt when what the client sent did not match its own checksums.
  virtual Task<Status> Pull(Hold destination, BlockTransfer transfer,
                            std::span<std::uint64_t> checksums) = 0;

  /// Whether PushFromDevice moves such a transfer of a block of `block_bytes` on `gpu`: over shm,
  /// all of it goes to memory of the client's on that GPU, as it can be copied there; over rdma,
  /// the NIC reads that GPU's memory.
  [[nodiscard]] virtual bool ReachesDevice(const DeviceCopier& /*gpu*/,
                                           std::uint64_t /*block_bytes*/,
                                           const BlockTransfer& /*transfer*/) const {
    return false;
  }
  /// Push, of a block that lies on a GPU. kCorrupt: what was written, or over rdma what lies on
  /// the GPU, has not the block's checksums; kIo: the GPU failed. These, kUnsupported and kRetry
  /// leave nothing under way: the block may be pushed from elsewhere. REQUIRES: ReachesDevice, in
  /// the same turn.
  virtual Task<Status> PushFromDevice(std::shared_ptr<DeviceSource> source,
                                      BlockTransfer transfer) {
    (void)source, (void)transfer;
    co_return Status(StatusCode::kUnsupported, "this link reaches no device memory");
  }

  /// Lends `frame`, which lies at `place` of an extent of `extents`, to the client until it gives
  /// it back, but no longer than `until` (on the scheduler's clock); `extents` outlives the link.
  /// The Hold stays with the lease. kUnsupported: this link lends nothing. kRetry: the client, or
  /// all of them, have as much as they may.
  virtual Result<Loan> Lend(Hold frame, const LentPlace& place, ExtentSource& extents,
                            Nanos until) {
    (void)frame, (void)place, (void)extents, (void)until;
    return Status(StatusCode::kUnsupported, "this link lends no frames");
  }

  /// What Lend of so many bytes there would say now, as far as the client and what it and others
  /// hold lent decide that: before a GPU is made to work for it.
  [[nodiscard]] virtual Status CanLend(const LentPlace& place, std::uint64_t bytes) {
    (void)place, (void)bytes;
    return {};
  }

  /// Queues a control message to the client; it is dropped when the link has ended. Replies leave
  /// after the data pushed before them.
  virtual void Send(std::vector<std::byte> message) = 0;

  /// Ends the link at once: transfers in flight answer kPeerDead, their Holds follow L2.
  virtual void Close() = 0;

  /// What gets over this link wait for, and how fast they came so far: kept by who moves blocks,
  /// for predictions (cache/load_estimate.h).
  struct Load {
    std::optional<TransferMeter> meter;  ///< of pushes; none before the first
    std::uint64_t waiting_bytes = 0;     ///< of gets under way that have not been pushed
  };
  [[nodiscard]] Load& load() noexcept { return load_; }
  [[nodiscard]] const Load& load() const noexcept { return load_; }

 private:
  Load load_;
};

}  // namespace terrace
