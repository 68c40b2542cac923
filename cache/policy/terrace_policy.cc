// The policy `terrace`: what will soonest be used again stays. docs/policy.md tells the model.
//
// Each block is of a kind (block_kinds.h) since its last use. ReuseHistory learns the chance that a
// block of a kind and age is used now, ReuseIndex makes a value of it. Each kind has a list in the
// order of uses, within a request the deepest block first, so suffixes go before prefixes. Values
// rise with age up to the time of the usual pause and fall after it, so the least valuable block is
// at an end of a list: the oldest, or the deepest of the last request. A request under way is
// passed over: its blocks would make room for each other. What is put off (a lease holds it) waits
// in a list of its own, out of reach of both ends, and then counts as the average of all kinds.
//
// Constant time a call: each search looks at two blocks of each kind, and the next few evictions
// take from where it found the least.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/check.h"
#include "cache/policy/block_kinds.h"
#include "cache/policy/block_links.h"
#include "cache/policy/policies.h"
#include "cache/policy/reuse_history.h"
#include "cache/policy/reuse_value.h"

namespace terrace {
namespace {

/// A tick is so many uses of blocks for each block of capacity.
constexpr std::size_t kTicksPerCapacity = 512;
/// A put follows the get of the same request within so many ticks after those of its own uses.
constexpr std::uint32_t kSameRequest = 4;
/// What is put off is not offered for so many ticks, an eighth of the capacity, while others are.
constexpr std::uint32_t kPutOffTicks = kTicksPerCapacity / 8;
/// Evictions from where the last search found its block: at most one block in so many.
constexpr std::size_t kAgainShare = 256;
constexpr std::size_t kAgainMost = 32;
/// 1 would say that nothing is known.
constexpr double kAlmostCertain = 0.999;

/// Where the last request that used a block ended.
enum class End : std::uint8_t {
  kElsewhere = 0,  ///< further down
  kPut = 1,        ///< here, when the block was put
  kUsed = 2,       ///< here again since
  kStopped = 3,    ///< here, where an earlier one had gone on
};

struct [[gnu::packed, gnu::aligned(2)]] BlockState {
  std::uint32_t tag = 0;   ///< of its identity
  std::uint32_t when = 0;  ///< last use, in ticks
  std::uint16_t kind : 10 = 0;
  std::uint16_t turn : 3 = 0;  ///< of the last request; of a shared block: uses, up to 7
  std::uint16_t end : 2 = 0;   ///< End
  std::uint16_t shared : 1 = 0;
};
static_assert(sizeof(BlockState) == 10, "see the 96 bytes of block_index.h");
static_assert(BlockKinds::kKindsMax <= 1 << 10);

struct KindList {
  BlockLinks::List blocks;            ///< least recently used first
  BlockId deepest = kNoBlock;         ///< of the last request in it; kNoBlock: not known
  BlockId closed_head = kNoBlock;     ///< of the request before that: its last block,
  BlockId closed_deepest = kNoBlock;  ///< and its first; kNoBlock: not known
};

class TerracePolicy final : public EvictionPolicy {
 public:
  explicit TerracePolicy(std::size_t capacity_blocks)
      : uses_per_tick_(std::max<std::size_t>(1, capacity_blocks / kTicksPerCapacity)),
        again_most_(std::clamp<std::size_t>(capacity_blocks / kAgainShare, 1, kAgainMost)),
        links_(capacity_blocks),
        state_(capacity_blocks),
        history_(capacity_blocks),
        kinds_(history_) {
    Learn();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "terrace"; }
  [[nodiscard]] RequestFacts Extend(const Extension& extension) override;
  void Insert(const NewBlock& block) override;
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override;
  void PutOff(const NewBlock& block) override;
  void Remove(BlockId block) override { Unlink(block); }
  void Evict(BlockId block) override;
  [[nodiscard]] BlockId First() override;
  [[nodiscard]] BlockId After(BlockId block) const noexcept override;
  [[nodiscard]] double ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept override;
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return BlockLinks::kBytesPerBlock + sizeof(BlockState);
  }
  [[nodiscard]] std::size_t FixedBytes() const noexcept override {
    return history_.Bytes() + lists_.size() * sizeof(KindList) + index_.size() * sizeof(AgeArray);
  }

 private:
  static std::uint32_t TagOf(std::uint64_t identity) noexcept {
    return static_cast<std::uint32_t>(identity ^ identity >> 32);
  }
  [[nodiscard]] std::uint32_t Now() const noexcept {
    return static_cast<std::uint32_t>(uses_ / uses_per_tick_);
  }
  [[nodiscard]] float Value(BlockId block) const noexcept {
    const BlockState& state = state_[block];
    return index_[state.kind][AgeStep(Now() - state.when)];
  }

  /// What is remembered of blocks that come: the deepest that was here before.
  struct Past {
    std::uint32_t turn = 0;   ///< its turn; 0: none was here
    std::uint32_t fresh = 0;  ///< blocks after it
    bool looked = false;      ///< any block was of the sample
  };
  [[nodiscard]] Past PastOf(std::span<const std::uint64_t> identities,
                            std::uint32_t blocks) const noexcept;
  /// Used so short a while ago that it was by the same request, of about `blocks` blocks.
  [[nodiscard]] bool IsRecent(BlockId block, std::size_t blocks) const noexcept {
    const auto own = static_cast<std::uint32_t>(blocks / uses_per_tick_);
    return Now() - state_[block].when < kSameRequest + own;
  }
  void TouchAgain(std::span<const BlockId> chain);
  void SetKind(BlockId block, std::uint16_t kind);
  /// `head` and what comes behind it in its list, of the same use and at most `count` blocks,
  /// become of that kind.
  void Regroup(BlockId head, std::size_t count, std::uint16_t kind, bool shared);
  void CountUse(const BlockState& state, std::size_t blocks);
  void Learn();
  void AddKinds();

  void Append(BlockId block);
  void Unlink(BlockId block);
  [[nodiscard]] BlockId DeepestOf(BlockId head) const noexcept;
  [[nodiscard]] BlockId Youngest(KindList& list);
  [[nodiscard]] BlockId EndOf(std::size_t kind, bool old);
  [[nodiscard]] BlockId Again();
  [[nodiscard]] BlockId Search();
  [[nodiscard]] BlockId FollowerOf(BlockId block) const noexcept;
  [[nodiscard]] BlockId ListAfter(std::size_t kind) const noexcept;

  const std::size_t uses_per_tick_;
  const std::size_t again_most_;
  BlockLinks links_;
  std::vector<BlockState> state_;
  ReuseHistory history_;
  BlockKinds kinds_;
  std::vector<KindList> lists_;  // by kind
  std::vector<AgeArray> index_;  // by kind, of the last estimate
  const std::vector<AgeArray>* hazards_ = nullptr;
  std::uint64_t uses_ = 0;
  std::uint32_t open_ = 0;  // when the request that is under way was
  // What First found: the block, the list behind it, the end that it came from, the value of the
  // next best end, and how often that end may be used again without a search.
  BlockId first_ = kNoBlock;
  std::size_t second_list_ = 0;
  std::size_t found_list_ = 0;
  bool found_old_ = true;
  float bound_ = 0;
  std::size_t again_ = 0;
};

TerracePolicy::Past TerracePolicy::PastOf(std::span<const std::uint64_t> identities,
                                          std::uint32_t blocks) const noexcept {
  Past past{.turn = 0, .fresh = blocks, .looked = false};
  for (std::size_t i = 0; i < identities.size(); ++i) {
    const std::uint32_t tag = TagOf(identities[i]);
    if (!history_.Samples(tag)) continue;
    past.looked = true;
    const std::uint32_t turn = kinds_.TurnOf(history_.LastKind(tag));
    if (turn == 0) continue;
    past.turn = turn;
    const std::size_t fresh = identities.size() - i - 1;
    past.fresh = static_cast<std::uint32_t>(fresh * blocks / identities.size());
  }
  return past;
}

RequestFacts TerracePolicy::Extend(const Extension& extension) {
  // What left the cache and comes back goes on where it was.
  TERRACE_CHECK(extension.parent == kNoBlock || links_.Linked(extension.parent));
  const Past past = PastOf(extension.identities, extension.blocks);
  const std::uint32_t blocks = extension.position + extension.blocks;
  std::uint32_t turn = past.turn + 1;
  RequestFacts facts = extension.request;
  facts.when = Now();
  facts.extended = true;
  const BlockId parent = extension.parent;
  if (parent != kNoBlock && kinds_.TurnOf(state_[parent].kind) != 0 &&
      static_cast<End>(state_[parent].end) == End::kPut && IsRecent(parent, extension.position)) {
    // The same request goes on, in another call.
    state_[parent].end = static_cast<std::uint16_t>(End::kElsewhere);
    facts.kind = state_[parent].kind;
    facts.when = state_[parent].when;
    return facts;
  }
  if (parent != kNoBlock && !state_[parent].shared) {
    const auto end = static_cast<End>(state_[parent].end);
    const bool went_on = end == End::kElsewhere || end == End::kStopped;
    if (went_on && past.looked && past.turn == 0) {
      // Another conversation leaves a chain that went on elsewhere.
      Regroup(parent, extension.position, kinds_.OfShared(1), true);
    } else {
      turn = std::max<std::uint32_t>(turn, state_[parent].turn + (end == End::kPut ? 1 : 0));
    }
  }
  facts.kind = kinds_.OfTurn(turn, blocks, past.fresh, extension.request);
  if (lists_.size() < kinds_.size()) AddKinds();
  if (parent == kNoBlock) return facts;
  state_[parent].end = static_cast<std::uint16_t>(End::kElsewhere);
  if (!state_[parent].shared && IsRecent(parent, extension.position)) {
    // What the same request found before: all its blocks go together.
    facts.when = state_[parent].when;
    Regroup(parent, extension.position, facts.kind, false);
  }
  return facts;
}

void TerracePolicy::Insert(const NewBlock& block) {
  TERRACE_CHECK(block.parent == kNoBlock || links_.Linked(block.parent));
  BlockState& state = state_.at(block.block);
  const std::uint32_t length = block.position + block.behind + 1;
  state = {};
  state.tag = TagOf(block.identity);
  state.when = block.request.extended ? block.request.when : Now();
  std::uint16_t kind = block.request.kind;
  if (!block.request.extended) {
    const std::uint64_t identities[] = {block.identity};
    const Past past = PastOf(identities, 1);
    kind = kinds_.OfTurn(past.turn + 1, length, past.fresh, block.request);
    if (lists_.size() < kinds_.size()) AddKinds();
  }
  if (block.partial) kind = kinds_.OfPartial();
  SetKind(block.block, kind);
  state.end = static_cast<std::uint16_t>(block.behind <= 1 ? End::kPut : End::kElsewhere);
  // Just before its parent, if that is of the same request.
  const bool joins = block.parent != kNoBlock && state_[block.parent].kind == kind &&
                     state_[block.parent].when == state.when;
  if (joins) {
    KindList& list = lists_[kind];
    links_.InsertBefore(list.blocks, block.block, block.parent);
    if (list.deepest == block.parent) list.deepest = block.block;
  } else {
    Append(block.block);
  }
  open_ = state.when;
  CountUse(state, length);
}

void TerracePolicy::Touch(std::span<const BlockId> chain, const RequestFacts& request) {
  if (chain.empty()) return;
  if (IsRecent(chain.back(), chain.size())) return TouchAgain(chain);
  BlockState& last = state_[chain.back()];
  const auto end = static_cast<End>(last.end);
  const bool went_on = end == End::kElsewhere || end == End::kStopped;
  const std::uint32_t turn = std::min<std::uint32_t>(
      last.shared ? 1 : last.turn + (end == End::kUsed ? 0U : 1U), BlockKinds::kTurnMax);
  last.end = static_cast<std::uint16_t>(went_on ? End::kStopped : End::kUsed);
  const std::uint16_t kind =
      kinds_.OfTurn(turn, static_cast<std::uint32_t>(chain.size()), 0, request);
  if (lists_.size() < kinds_.size()) AddKinds();
  open_ = Now();
  for (std::size_t i = chain.size(); i-- > 0;) {
    const BlockId block = chain[i];
    BlockState& state = state_[block];
    Unlink(block);
    if (state.shared) {
      state.turn = static_cast<std::uint16_t>(std::min(state.turn + 1, 7) & 7);
      SetKind(block, kinds_.OfShared(state.turn));
    } else if (state.kind != kinds_.OfPartial()) {
      SetKind(block, kind);
    }
    state.when = open_;
    Append(block);
    CountUse(state, chain.size());
  }
}

// A decode gets what its prefill put, or a request what it got a moment ago: no turn of its own.
void TerracePolicy::TouchAgain(std::span<const BlockId> chain) {
  open_ = Now();
  for (std::size_t i = chain.size(); i-- > 0;) {
    BlockState& state = state_[chain[i]];
    Unlink(chain[i]);
    state.when = open_;
    Append(chain[i]);
    CountUse(state, chain.size());
  }
}

void TerracePolicy::PutOff(const NewBlock& block) {
  Unlink(block.block);
  BlockState& state = state_[block.block];
  state.kind = kinds_.OfPutOff() & 0x3ff;  // its turn stays, and so does what is told of its use
  state.when = Now();
  Append(block.block);
}

void TerracePolicy::Evict(BlockId block) {
  // Its parent, if that is what comes behind it, is where the chain ends from now on.
  const BlockState& state = state_.at(block);
  const BlockId next = links_.Next(block);
  if (next != kNoBlock && state_[next].when == state.when &&
      static_cast<End>(state_[next].end) == End::kElsewhere) {
    state_[next].end = state.end;
  }
  Unlink(block);
}

void TerracePolicy::SetKind(BlockId block, std::uint16_t kind) {
  BlockState& state = state_[block];
  state.kind = kind & 0x3ff;
  if (!state.shared) state.turn = static_cast<std::uint16_t>(kinds_.TurnOf(kind) & 7);
}

void TerracePolicy::Regroup(BlockId head, std::size_t count, std::uint16_t kind, bool shared) {
  const std::uint16_t old_kind = state_[head].kind;
  const std::uint32_t when = state_[head].when;
  if (old_kind == kind) return;
  for (BlockId block = head; count > 0 && block != kNoBlock; --count) {
    BlockState& state = state_[block];
    if (state.when != when || state.kind != old_kind) return;
    const BlockId next = links_.Next(block);
    Unlink(block);
    state.shared = shared ? 1 : 0;
    if (shared) state.turn = 1;
    SetKind(block, kind);
    Append(block);
    if (history_.Samples(state.tag)) history_.Rename(state.tag, kind);
    block = next;
  }
}

void TerracePolicy::CountUse(const BlockState& state, std::size_t blocks) {
  ++uses_;
  if (history_.Samples(state.tag)) history_.Used(state.tag, state.kind, blocks, state.when);
}

void TerracePolicy::Learn() {
  hazards_ = &history_.Estimate(Now());
  lists_.resize(hazards_->size());
  index_.resize(hazards_->size());
  std::ranges::transform(*hazards_, index_.begin(), ReuseIndex);
}

/// Of new kinds is known what is of the kinds above them.
void TerracePolicy::AddKinds() {
  lists_.resize(hazards_->size());
  for (std::size_t kind = index_.size(); kind < hazards_->size(); ++kind) {
    index_.push_back(ReuseIndex((*hazards_)[kind]));
  }
}

void TerracePolicy::Append(BlockId block) {
  KindList& list = lists_[state_[block].kind];
  const bool begins = list.blocks.size == 0 || state_[list.blocks.back].when != state_[block].when;
  if (begins) list.deepest = block;
  links_.PushBack(list.blocks, block);
}

void TerracePolicy::Unlink(BlockId block) {
  KindList& list = lists_[state_.at(block).kind];
  const BlockId next = links_.Next(block);
  const bool more = next != kNoBlock && state_[next].when == state_[block].when;
  if (list.deepest == block) list.deepest = more ? next : kNoBlock;
  if (list.closed_deepest == block) list.closed_deepest = more ? next : kNoBlock;
  if (list.closed_head == block) list.closed_head = kNoBlock;
  links_.Unlink(list.blocks, block);
}

/// The first of those before `head` that were used when it was.
BlockId TerracePolicy::DeepestOf(BlockId head) const noexcept {
  for (BlockId block = head;;) {
    const BlockId before = links_.Previous(block);
    if (before == kNoBlock || state_[before].when != state_[head].when) return block;
    block = before;
  }
}

/// The deepest block of the last request that is not under way; kNoBlock: none.
BlockId TerracePolicy::Youngest(KindList& list) {
  if (list.deepest == kNoBlock) list.deepest = DeepestOf(list.blocks.back);
  if (state_[list.deepest].when != open_) return list.deepest;
  const BlockId head = links_.Previous(list.deepest);
  if (head == kNoBlock) return kNoBlock;
  if (list.closed_head != head || list.closed_deepest == kNoBlock) {
    list.closed_head = head;
    list.closed_deepest = DeepestOf(head);
  }
  return list.closed_deepest;
}

/// The oldest block of a list, or Youngest; kNoBlock when it has only the request under way, or
/// what was put off a short while ago.
BlockId TerracePolicy::EndOf(std::size_t kind, bool old) {
  KindList& list = lists_[kind];
  if (list.blocks.size == 0) return kNoBlock;
  const std::uint32_t oldest = state_[list.blocks.front].when;
  if (kind == kinds_.OfPutOff()) {
    return old && Now() - oldest >= kPutOffTicks ? list.blocks.front : kNoBlock;
  }
  if (oldest == open_) return kNoBlock;
  return old ? list.blocks.front : Youngest(list);
}

BlockId TerracePolicy::First() {
  if (history_.WantsEstimate()) Learn();
  first_ = again_ > 0 ? Again() : kNoBlock;
  if (first_ != kNoBlock) {
    --again_;
  } else {
    first_ = Search();
  }
  if (first_ != kNoBlock && lists_[second_list_].blocks.size == 0) {
    second_list_ = state_[first_].kind;
  }
  return first_;
}

/// From the end where the last search found its block, unless what is there is more valuable by now
/// than the next best was.
BlockId TerracePolicy::Again() {
  const BlockId block = EndOf(found_list_, found_old_);
  return block != kNoBlock && Value(block) <= bound_ ? block : kNoBlock;
}

/// The least valuable of all ends of lists.
BlockId TerracePolicy::Search() {
  constexpr float kNone = std::numeric_limits<float>::infinity();
  BlockId best = kNoBlock;
  float least = kNone;
  float least_old = kNone;
  bound_ = kNone;
  for (std::size_t kind = 0; kind < lists_.size(); ++kind) {
    for (const bool old : {true, false}) {
      const BlockId block = EndOf(kind, old);
      if (block == kNoBlock) continue;
      const float value = Value(block);
      if (old && value < least_old) {
        least_old = value;
        second_list_ = kind;
      }
      if (best != kNoBlock && value >= least) {
        bound_ = std::min(bound_, value);
        continue;
      }
      bound_ = least;
      least = value;
      best = block;
      found_list_ = kind;
      found_old_ = old;
    }
  }
  again_ = again_most_;
  if (best != kNoBlock) return best;
  // All are put off, or of the request under way.
  second_list_ = kinds_.OfPutOff();
  if (lists_[second_list_].blocks.size > 0) return lists_[second_list_].blocks.front;
  return ListAfter(second_list_);
}

/// Behind the first come the list whose oldest block is worth least, then the other lists.
BlockId TerracePolicy::After(BlockId block) const noexcept {
  BlockId next = block == first_ ? ListAfter(lists_.size()) : FollowerOf(block);
  if (next == first_ && next != kNoBlock) next = FollowerOf(next);
  return next;
}

BlockId TerracePolicy::FollowerOf(BlockId block) const noexcept {
  const BlockId next = links_.Next(block);
  return next != kNoBlock ? next : ListAfter(state_[block].kind);
}

/// The front of the first list after that one that has any, that of what was put off last; after
/// none of them: of the second.
BlockId TerracePolicy::ListAfter(std::size_t kind) const noexcept {
  if (kind == lists_.size()) return lists_[second_list_].blocks.front;
  const std::size_t last = kinds_.OfPutOff();
  if (kind == last && kind != second_list_) return kNoBlock;
  for (kind = kind == second_list_ ? 0 : kind + 1; kind < lists_.size(); ++kind) {
    const bool its_turn = kind != second_list_ && kind != last;
    if (its_turn && lists_[kind].blocks.size > 0) return lists_[kind].blocks.front;
  }
  return last == second_list_ ? kNoBlock : lists_[last].blocks.front;
}

double TerracePolicy::ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept {
  if (!history_.Knows()) return 1;
  const BlockState& state = state_[block];
  const std::uint32_t age = Now() - state.when;
  const std::uint64_t ticks = std::min<std::uint64_t>(blocks / uses_per_tick_, 1U << 30);
  const std::uint32_t until = age + static_cast<std::uint32_t>(ticks);
  return std::min(ReuseBefore((*hazards_)[state.kind], age, until), kAlmostCertain);
}

}  // namespace

std::unique_ptr<EvictionPolicy> MakeTerracePolicy(std::size_t capacity_blocks) {
  return std::make_unique<TerracePolicy>(capacity_blocks);
}

}  // namespace terrace
