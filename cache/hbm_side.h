// HbmSide: what the cache keeps in the memory of GPUs: copies of blocks that are used again.
//
// Model. A block that was got often enough from DRAM is copied in while others go on. The copy
// counts as a place where the block lies (B4, block_index.h): when it has left DRAM since, a get
// reads it from there instead of from NVMe, and with no record there the copy is all there is of
// it. So a GPU that is lost costs the blocks that were in its memory alone; a restart finds none of
// them. Of several GPUs the one with most room takes a copy.
//
// What goes when there is no room is what the cache's policy says: a policy of its own for the
// copies, which uses what the one of DRAM has learned (EvictionPolicy::Follower). As there, what
// comes displaces what is worth least.
//
//   G1. `copies` names a block's copy while the block is known; a copy that bytes are still on
//       their way to or from gives its frame back when they have come.
//   G2. A copy is read only once it is ready: filled, and its checksums compared on the GPU. Then,
//       and only then, BlockEntry::in_hbm says so.
//   G3. A GPU that goes offline takes its copies with it, at once for whoever asks, and one after
//       the other for the index.
//   G4. What is the last of a block that is leased or kept by a label makes room for nobody.
//
// Memory: about 400 bytes a copy and the policy's state for every block of the index; so blocks
// below CacheOptions::hbm_block_bytes_min are not copied. Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/wait.h"
#include "cache/cache_impl.h"
#include "tiers/dram/extent_replacer.h"
#include "tiers/hbm/hbm_tier.h"

namespace terrace {

struct HbmSide final : ExtentMemoryUser {
  static constexpr std::size_t kPromotionsMax = 64;  ///< under way
  static constexpr int kCandidatesMax = 64;          ///< looked at for room
  /// Patience at the end with GPUs that do not answer.
  static constexpr Nanos kCloseWait = 2 * kSecond;

  struct Copy {
    BlockId id = kNoBlock;
    HbmTier* tier = nullptr;
    FrameId frame = kNoFrame;
    FrameHeader header;  ///< as in DRAM
    std::vector<std::uint64_t> checksums;
    RequestFacts facts;                ///< of its use that made it worth a copy
    std::vector<std::byte> placement;  ///< key of the record that may be written later
    bool lendable = false;             ///< to clients of its tenant
    bool ready = false;
    bool dropped = false;     ///< no longer in `copies`
    std::uint32_t users = 0;  ///< moves under way, and leases
  };

  /// A GPU compares a copy with its checksums, for a request that need not wait until it has.
  struct Check {
    const HbmTier* tier = nullptr;
    const GetRequest* request = nullptr;  ///< which waits; not to be followed
    Status status;
    Event ended;        ///< or nobody is to wait any more
    bool late = false;  ///< whoever waited for it has lost patience
  };

  /// REQUIRES: tiers, which outlive the side.
  HbmSide(Cache::Impl& the_cache, std::vector<HbmTier*> the_tiers);

  /// A request uses these blocks, in prefix order. Before the policy of DRAM is told.
  void Touch(std::span<const BlockId> found, const RequestFacts& request);
  /// The block was used in DRAM. After the policy of DRAM was told.
  void NoteUse(BlockId id);
  /// It can be read from here now.
  [[nodiscard]] bool Holds(BlockId id) const;
  /// With the key of a block that is not in DRAM; null unless Holds.
  [[nodiscard]] const FrameHeader* HeaderOf(BlockId id) const;
  /// Its copy, in use until ReadAndEnd has ended; null unless Holds.
  std::shared_ptr<Copy> BeginRead(BlockId id);
  /// Fills a frame with the block and its checksums: ok, or the copy is of no use and is given up.
  /// kRetry: too many wait, and kUnsupported: the frame is not pinned; the copy stays. The bytes
  /// are the caller's.
  Task<Status> ReadAndEnd(std::shared_ptr<Copy> copy, FrameId into);
  /// The block is about to be forgotten, or to lose its copy for good.
  void OnForget(BlockId id) { Drop(id); }
  /// Forgets a block that lies here alone, for the sake of room in the index, but none of the chain
  /// that wants it. False: there is none.
  bool ForgetFirst(const ChainGuard& guard);
  /// Ends the moves under way; kIo when a GPU did not answer in time: what it may still write must
  /// stay where it is, as must the tiers. No call after it but for Validate.
  Task<Status> Close();

  /// What is lent may be replaced (FrameArena, A6): the GPUs let go of the old pages and pin the
  /// new ones, on the arena's thread. Where that fails nothing is copied from or to them.
  void BeforeReplaced(std::span<std::byte> memory) override;
  void AfterReplaced(std::span<std::byte> memory) override;

  [[nodiscard]] bool Wants(BlockId id) const;
  void StartPromotion(BlockId id);
  Task<void> Promote(std::shared_ptr<Copy> copy, Hold pin);
  /// Whose clients may be lent copies of that namespace's blocks; HbmTier::kNobody.
  [[nodiscard]] TenantId OwnerOf(std::uint32_t namespace_id) const;
  /// A frame of that tier for `owner`, made free by giving others up if need be; kNoFrame.
  FrameId MakeRoom(HbmTier& tier, std::uint64_t block_bytes, TenantId owner);
  [[nodiscard]] bool MayGo(const HbmTier& tier, FrameId frame) const;
  /// The policy knows what that block in DRAM is worth.
  [[nodiscard]] bool Known(BlockId id) const;
  /// There is nothing of the block but its copy.
  [[nodiscard]] bool IsLast(BlockId id) const;
  /// Whoever was lent the copy's frame is to hear that its bytes are wrong. REQUIRES: in use.
  void EndLoans(const Copy& copy);
  /// Who waits for such checks goes on at once (kCancelled); they themselves end when the GPU does.
  void EndChecks(const std::function<bool(const Check&)>& which);
  /// It has not ended a check in time, and still is at it.
  [[nodiscard]] bool IsSlow(const HbmTier& tier) const;
  /// Gives the copy up, and the block if it was the last of it.
  void GiveUp(BlockId id, EventCause why);
  void Drop(BlockId id, bool evicts = false);
  void EndUse(Copy& copy);
  void OnLost(HbmTier& tier);
  Task<void> GiveUpAll(HbmTier& tier);
  /// Nothing is under way.
  [[nodiscard]] bool Idle() const;
  void CountTiers();
  [[nodiscard]] Status Validate() const;

  Cache::Impl& cache;
  const std::vector<HbmTier*> tiers;
  /// A GPU went offline: its name and why.
  std::function<void(const std::string&, const std::string&)> on_lost;
  /// As Cache::OnGpuMemoryAway.
  std::function<void(const std::string&, std::uint64_t, const Status&)> on_memory_away;
  /// Who was lent what lies there, or anything of that GPU's, is to hear that it is of no use.
  std::function<void(const HbmTier&, std::optional<LentPlace>)> on_loans_over;
  std::unique_ptr<EvictionPolicy> policy;  ///< of the ready copies
  std::unordered_map<BlockId, std::shared_ptr<Copy>> copies;
  std::vector<std::unordered_map<FrameId, BlockId>> owners;  ///< by tier
  std::vector<std::shared_ptr<Check>> checks;                ///< the GPU is at them
  std::size_t promotions = 0;
  bool closing = false;
  TaskScope background;

 private:
  [[nodiscard]] std::size_t NumberOf(const HbmTier& tier) const;
  /// Says so when a GPU has not the memory for an extent, the first time.
  void TellAway(const HbmTier& tier, std::uint64_t bytes);

  std::vector<bool> told_away_;  ///< by tier
};

}  // namespace terrace
