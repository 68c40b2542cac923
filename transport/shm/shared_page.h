// SharedPage: the memory that one client and one reactor of the daemon on its host share.
//
//   ends of two rings | generations | released | bytes to the daemon | bytes to the client
//
// Model. The daemon makes it (a sealed memfd) and passes it to the client, who may write all of it:
// whatever stands here is the client's word to the daemon, and neither an address nor a length is
// believed. The daemon keeps its own end of each ring and its own copy of the generations in
// private memory.
//
//   P1. A ring has one writer, which alone changes `head`, and one reader, which alone changes
//       `tail`; both only rise. Bytes [tail, head) wait to be read.
//   P2. `generations[slot]` rises when a lease of that slot ends, before its frame is anybody
//       else's: who read a lent frame and then finds the generation of its lease still there has
//       read the block.
//   P3. `released[slot]`, announced by a bit in `released_bits`, is the client's word that it needs
//       the lease of that generation no more.
//
// Thread: the mapping may be used from any thread; who may touch which field is said above.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

/// Version of what follows; client and daemon must agree, else they use another Link.
inline constexpr std::uint16_t kSharedPageVersion = 2;
inline constexpr std::uint32_t kRingBytes = 64 << 10;  ///< of each direction; a power of two
inline constexpr std::uint32_t kLeaseSlots = 4096;     ///< leases of one client and reactor at once

/// Both ends of one ring. Each in a cache line of its own.
struct RingEnds {
  alignas(64) std::atomic<std::uint64_t> head{0};           ///< bytes ever written
  alignas(64) std::atomic<std::uint64_t> tail{0};           ///< bytes ever read
  alignas(64) std::atomic<std::uint32_t> reader_sleeps{0};  ///< ring its bell after writing
  alignas(64) std::atomic<std::uint32_t> writer_waits{0};   ///< ring its bell after reading
};

struct SharedLayout {
  static constexpr std::uint64_t kMagic = 0x31474150'52525454;  // "TTRRPAG1"
  std::uint64_t magic = kMagic;
  std::uint32_t version = kSharedPageVersion;
  RingEnds to_daemon;
  RingEnds to_client;
  alignas(64) std::atomic<std::uint64_t> released_bits[kLeaseSlots / 64] = {};
  alignas(64) std::atomic<std::uint32_t> generations[kLeaseSlots] = {};
  alignas(64) std::atomic<std::uint32_t> released[kLeaseSlots] = {};
  alignas(4096) std::byte to_daemon_bytes[kRingBytes];
  std::byte to_client_bytes[kRingBytes];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

/// A mapping of one. Movable only by its owner pointer; unmaps when destroyed.
class SharedPage {
 public:
  /// The daemon's: makes the memory. `fd` gets the descriptor to pass on. kIo with errno.
  static Result<std::shared_ptr<SharedPage>> Create(UniqueFd* fd);
  /// The client's. kInvalid when it is not one of this version.
  static Result<std::shared_ptr<SharedPage>> Open(int fd);
  ~SharedPage();
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;

  [[nodiscard]] SharedLayout& layout() noexcept { return *layout_; }

 private:
  explicit SharedPage(SharedLayout* layout) : layout_(layout) {}
  SharedLayout* const layout_;
};

}  // namespace terrace
