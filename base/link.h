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
//
// All of it runs on the reactor's thread. Implementations: transport/ (tcp, copy, rdma) and
// base/sim_link.h; one test suite runs over all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/task.h"

namespace terrace {

enum class LinkKind : std::uint8_t { kNone = 0, kTcp = 1, kCopy = 2, kRdma = 3, kSim = 4 };
/// "none", "tcp", "copy", "rdma", "sim".
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

/// One block of one request. `pieces` together are exactly as long as the block.
struct BlockTransfer {
  std::uint64_t request_id = 0;   ///< the client's number of the request
  std::uint32_t block = 0;        ///< index of the block within the request
  std::span<const Piece> pieces;  ///< valid until the call has ended
  Nanos deadline = 0;             ///< on the scheduler's clock
};

class Link {
 public:
  virtual ~Link() = default;

  [[nodiscard]] virtual LinkKind kind() const noexcept = 0;
  /// False once the peer died or Close was called.
  [[nodiscard]] virtual bool Alive() const noexcept = 0;

  /// Copies `source` into the client's memory. `checksums`: one XXH3-64 per 256 KiB of the block
  /// (base/checksum.h), sent along where the client verifies. Status as in L1 and L3; kInvalid
  /// when a piece lies outside its region (nothing is then written).
  virtual Task<Status> Push(Hold source, BlockTransfer transfer,
                            std::span<const std::uint64_t> checksums) = 0;

  /// Copies the client's memory into `destination`, and writes the block's checksums, computed
  /// over what arrived in the frame, into `checksums` (PieceCount(size) entries, which outlive the
  /// call). kCorrupt when what the client sent did not match its own checksums.
  virtual Task<Status> Pull(Hold destination, BlockTransfer transfer,
                            std::span<std::uint64_t> checksums) = 0;

  /// Queues a control message to the client; it is dropped when the link has ended. Replies leave
  /// after the data pushed before them.
  virtual void Send(std::vector<std::byte> message) = 0;

  /// Ends the link at once: transfers in flight answer kPeerDead, their Holds follow L2.
  virtual void Close() = 0;
};

}  // namespace terrace
