// PeerLoad: the calls of one client whose every block says what it is, and is checked.
//
// Model. Blocks are those of block_content.h: `store` is the campaign's seed, `space` the
// client's number. A call's outcome is counted: good, refused for a while (kRetry), lost (the
// daemon could not be reached, or not in time), wrong. Lent blocks are copied first and judged
// after their release, as terrace.hpp says.
//
// Thread: one. Lifetime: the client's namespace stays when it goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "client/terrace.hpp"
#include "tests/common/block_content.h"
#include "tests/peers/piece_layout.h"

namespace terrace::peers {

inline constexpr std::uint32_t kChains = 4;
inline constexpr std::uint32_t kChainBlocks = 16;
/// Of one tenant who wants most of the arena of 64 MiB for himself.
inline constexpr std::uint32_t kManyChains = 14;

class PeerLoad {
 public:
  struct Options {
    std::string address;
    std::string name;
    std::string tenant = "peers";
    bool tcp = false;
    std::uint64_t store = 0;
    std::uint32_t number = 0;
    bool pieces = false;  ///< every other get and put has its blocks in shuffled pieces
    std::chrono::milliseconds patience{5000};  ///< of a call
  };
  struct Counts {
    std::uint64_t good = 0, retry = 0, lost = 0, wrong = 0, expired = 0;
    std::string first_wrong;
    std::string last_loss;  ///< the last status that was no success
    std::chrono::nanoseconds slowest{0};
  };
  static Result<std::unique_ptr<PeerLoad>> Connect(const Options& options);

  void Put(std::uint32_t chain, std::uint32_t first, std::uint32_t count, Ack ack);
  void Get(std::uint32_t chain, std::uint32_t first, std::uint32_t count);
  void Match(std::uint32_t chain);
  void Remove(std::uint32_t chain, std::uint32_t first, std::uint32_t count);
  void Clear();
  [[nodiscard]] std::vector<LentBlock> Lend(std::uint32_t chain, std::uint32_t count);
  /// Copies, releases, and checks what the release says was right. How many had expired.
  std::uint32_t Release(std::uint32_t chain, std::vector<LentBlock> lent);
  /// One call drawn from `random`.
  void Any(Random& random, bool lends);

  /// The same calls without waiting for them; then Drain, before anything else uses the region.
  void BeginGet(std::uint32_t chain, std::chrono::microseconds patience);
  void BeginPut(std::uint32_t chain, Ack ack);
  void BeginMatch(std::uint32_t chain);
  void BeginRemove(std::uint32_t chain);
  void Drain();

  [[nodiscard]] Client& client() noexcept { return *client_; }
  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }

 private:
  explicit PeerLoad(const Options& options, std::unique_ptr<Client> client)
      : options_(options), client_(std::move(client)) {}
  Status Open();
  [[nodiscard]] crash::BlockName NameOf(std::uint32_t chain, std::uint32_t position) const;
  [[nodiscard]] std::span<std::byte> Memory(std::uint32_t index) const;
  [[nodiscard]] std::vector<BlockBuffer> Fill(std::uint32_t chain, std::uint32_t first,
                                              std::uint32_t count, bool with_bytes);
  /// The same where the blocks lie in pieces: everything else holds poison.
  [[nodiscard]] std::vector<BlockPieces> FillPieces(std::uint32_t chain, std::uint32_t first,
                                                    std::uint32_t count, bool with_bytes);
  /// After a get of `count` blocks: neither guards nor pieces of other blocks were written.
  void CheckPoison(std::uint32_t count);
  /// Whether the next get or put is one of pieces.
  bool TakesPieces() { return options_.pieces && (calls_++ % 2 == 1); }
  void Check(std::uint32_t chain, std::uint32_t position, std::span<const std::byte> bytes,
             const char* how);
  void Note(const Status& status);
  void NoteTicket(const Result<Ticket>& ticket) { begun_ += ticket.ok() ? 1 : 0; }
  [[nodiscard]] Deadline Soon() const { return In(options_.patience); }

  const Options options_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  PieceLayout layout_;
  std::uint64_t calls_ = options_.number;  // so that two do not keep step
  std::uint32_t version_ = 0;
  std::size_t begun_ = 0;  // calls that Drain waits for
  Counts counts_;
};

}  // namespace terrace::peers
