// The policy `terrace`: what will soonest be used again stays. docs/policy.md tells the model.
//
// Each block is of a kind (block_kinds.h) since its last use. ReuseHistory learns the chance that a
// block of a kind and age is used now, ReuseIndex makes a value of it; both are in LearnedReuse,
// which several policies may share. Values rise with age up to the time of the usual pause and fall
// after it, so the least valuable block is at an end of the list of its kind (kind_lists.h): the
// oldest, or the deepest of the last request. What is put off (a lease holds it) waits in a list of
// its own and then counts as the average of all kinds.
//
// Constant time a call: a search looks at two values of each kind, remembered while neither list
// nor step of age changes; the next few evictions take from where it found the least.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/policy/cost_classes.h"
#include "cache/policy/kind_lists.h"
#include "cache/policy/learned_reuse.h"
#include "cache/policy/list_ends.h"
#include "cache/policy/policies.h"
#include "cache/policy/reuse_value.h"

namespace terrace {
namespace {

/// A use is by the same request within so many ticks, a 32nd of the capacity, and those of its own
/// uses, after the last one: a put after its get, a decode after its prefill.
constexpr std::uint32_t kSameRequest = LearnedReuse::kTicksPerCapacity / 32;
/// Requests of late whose last use is remembered: those that many workers may have under way.
constexpr std::size_t kRecentRequests = 16;
/// Evictions from where the last search found its block: at most one block in so many.
constexpr std::size_t kAgainShare = 256;
constexpr std::size_t kAgainMost = 32;
constexpr double kAlmostCertain = 0.999;  ///< 1 would say that nothing is known
/// Of an end where nothing may leave.
constexpr float kNoValue = std::numeric_limits<float>::infinity();

/// Where the last request that used a block ended.
enum class End : std::uint8_t {
  kElsewhere = 0,  ///< further down
  kPut = 1,        ///< here, when the block was put
  kUsed = 2,       ///< here again since
  kStopped = 3,    ///< here, where an earlier one had gone on
};

static_assert(BlockKinds::kKindsMax <= KindLists::kKindsMax);

class TerracePolicy final : public EvictionPolicy {
 public:
  /// `teaches`: what becomes of its blocks is learned from; else it only uses what is known.
  TerracePolicy(std::size_t capacity_blocks, std::shared_ptr<LearnedReuse> learned, bool teaches)
      : teaches_(teaches),
        again_most_(std::clamp<std::size_t>(capacity_blocks / kAgainShare, 1, kAgainMost)),
        lists_(capacity_blocks),
        learned_(std::move(learned)),
        kinds_(learned_->kinds()),
        ends_(lists_, *learned_, kinds_.OfPutOff()) {
    TakeOver();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "terrace"; }
  [[nodiscard]] RequestFacts Extend(const Extension& extension) override;
  void Insert(const NewBlock& block) override;
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override;
  void PutOff(const NewBlock& block) override;
  void Remove(BlockId block) override { lists_.Unlink(block); }
  void Evict(BlockId block) override;
  [[nodiscard]] BlockId First() override;
  [[nodiscard]] BlockId After(BlockId block) const noexcept override;
  [[nodiscard]] double ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept override;
  [[nodiscard]] double CostFactor(BlockId block) const noexcept override {
    return lists_.FactorOf(lists_[block].list);
  }
  [[nodiscard]] RequestFacts FactsOf(BlockId block) const override {
    return {.extended = true,
            .cost_class = lists_.ClassOf(lists_[block].list),
            .kind = KindOf(block),
            .when = lists_[block].when};
  }
  [[nodiscard]] std::uint64_t IgnoredHints() const noexcept override { return kinds_.ignored(); }
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return KindLists::kBytesPerBlock;
  }
  [[nodiscard]] std::size_t FixedBytes() const noexcept override {
    return (teaches_ ? learned_->Bytes() : 0) + lists_.FixedBytes() + ends_.Bytes();
  }
  [[nodiscard]] std::unique_ptr<EvictionPolicy> Follower(std::size_t capacity) const override {
    return std::make_unique<TerracePolicy>(capacity, learned_, false);
  }
  [[nodiscard]] std::unique_ptr<EvictionPolicy> Learner(std::size_t capacity,
                                                        std::size_t held) const override {
    return std::make_unique<TerracePolicy>(capacity, std::make_shared<LearnedReuse>(held), true);
  }

 private:
  static std::uint32_t TagOf(std::uint64_t identity) noexcept {
    return static_cast<std::uint32_t>(identity ^ identity >> 32);
  }
  [[nodiscard]] std::uint32_t Now() const noexcept { return learned_->Now(); }
  [[nodiscard]] std::uint16_t KindOf(BlockId block) const noexcept {
    return lists_.KindOf(lists_[block].list);
  }
  [[nodiscard]] float Value(BlockId block) const noexcept {
    return learned_->ValueOf(KindOf(block), AgeStep(Now() - lists_[block].when)) *
           lists_.FactorOf(lists_[block].list);
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
    const auto own = static_cast<std::uint32_t>(blocks / learned_->uses_per_tick());
    return Now() - LastUse(lists_[block].when) < kSameRequest + own;
  }
  /// When the request that began then used a block last, as far as that is remembered.
  [[nodiscard]] std::uint32_t LastUse(std::uint32_t began) const noexcept {
    for (const Recent& one : recent_) {
      if (one.began == began) return one.last;
    }
    return began;
  }
  /// The request that began then uses a block now.
  void NoteUse(std::uint32_t began) noexcept {
    Recent* place = &recent_[newest_];
    if (place->began != began) {
      place = std::ranges::find(recent_, began, &Recent::began);
      if (place == recent_.end()) {
        newest_ = (newest_ + 1) % recent_.size();
        place = &recent_[newest_];
      }
    }
    *place = {.began = began, .last = Now()};
  }
  /// How many of a request's `blocks` are shown.
  static std::uint32_t Shown(std::uint32_t blocks, const RequestFacts& request) noexcept {
    return std::max(blocks >> request.thinned, 1U);
  }
  void TouchAgain(std::span<const BlockId> chain);
  void SetKind(BlockId block, std::uint16_t kind, std::int8_t cost_class);
  /// `head` and what comes behind it in its list, of the same use and at most `count` blocks,
  /// become of that kind and class.
  void Regroup(BlockId head, std::size_t count, std::uint16_t kind, std::int8_t cost_class,
               bool shared);
  void CountUse(const UseState& state, std::size_t blocks);
  /// What was found of another estimate counts no more.
  void TakeOver();
  /// As BlockKinds::OfTurn; a kind that is new has a list and is known as the one above it.
  std::uint16_t KindOfTurn(std::uint32_t turn, std::uint32_t blocks, std::uint32_t fresh,
                           const RequestFacts& request);
  void AddLists();

  [[nodiscard]] BlockId Again();
  [[nodiscard]] BlockId Search();
  [[nodiscard]] BlockId ListAfter(std::size_t list) const noexcept;

  const bool teaches_;
  const std::size_t again_most_;
  KindLists lists_;
  const std::shared_ptr<LearnedReuse> learned_;
  BlockKinds& kinds_;
  ListEnds ends_;
  std::uint64_t estimate_ = 0;  // that they are of
  /// Requests of late, by the tick they began in.
  struct Recent {
    std::uint32_t began = 0;
    std::uint32_t last = 0;
  };
  std::array<Recent, kRecentRequests> recent_{};
  std::size_t newest_ = 0;
  std::uint32_t open_ = 0;  // when the request that is under way was
  // What First found: the block, the list behind it, the end that it came from, the value of the
  // next best end, and how often that end may be used again without a search.
  BlockId first_ = kNoBlock;
  std::size_t second_list_ = 0;
  std::size_t found_list_ = 0;
  bool found_old_ = true;
  float bound_ = 0;
  mutable BlockId rest_ = kNoBlock;  // where After left the list of the first; kNoBlock: not yet
  std::size_t again_ = 0;
};

TerracePolicy::Past TerracePolicy::PastOf(std::span<const std::uint64_t> identities,
                                          std::uint32_t blocks) const noexcept {
  Past past{.turn = 0, .fresh = blocks, .looked = false};
  for (std::size_t i = 0; i < identities.size(); ++i) {
    const std::uint32_t tag = TagOf(identities[i]);
    if (!learned_->history().Samples(tag)) continue;
    past.looked = true;
    const std::uint32_t turn = kinds_.TurnOf(learned_->history().LastKind(tag));
    if (turn == 0) continue;
    past.turn = turn;
    const std::size_t fresh = identities.size() - i - 1;
    past.fresh = static_cast<std::uint32_t>(fresh * blocks / identities.size());
  }
  return past;
}

RequestFacts TerracePolicy::Extend(const Extension& extension) {
  // What left the cache and comes back goes on where it was.
  TERRACE_CHECK(extension.parent == kNoBlock || lists_.Linked(extension.parent));
  const Past past = PastOf(extension.identities, extension.blocks);
  const std::uint32_t blocks = extension.position + extension.blocks;
  const std::uint32_t before = Shown(extension.position, extension.request);
  std::uint32_t turn = past.turn + 1;
  RequestFacts facts = extension.request;
  facts.when = Now();
  facts.extended = true;
  facts.cost_class = learned_->costs().ClassOf(extension.request);
  const BlockId parent = extension.parent;
  if (parent != kNoBlock && kinds_.TurnOf(KindOf(parent)) != 0 &&
      static_cast<End>(lists_[parent].end) == End::kPut && IsRecent(parent, before)) {
    // The same request goes on, in another call.
    lists_[parent].end = static_cast<std::uint8_t>(End::kElsewhere);
    facts.kind = KindOf(parent);
    facts.cost_class = lists_.ClassOf(lists_[parent].list);
    facts.when = lists_[parent].when;
    return facts;
  }
  if (parent != kNoBlock && !lists_[parent].shared) {
    const auto end = static_cast<End>(lists_[parent].end);
    const bool went_on = end == End::kElsewhere || end == End::kStopped;
    if (went_on && past.looked && past.turn == 0) {
      // Another conversation leaves a chain that went on elsewhere.
      Regroup(parent, before, kinds_.OfShared(1), facts.cost_class, true);
    } else {
      turn = std::max<std::uint32_t>(turn, lists_[parent].turn + (end == End::kPut ? 1 : 0));
    }
  }
  facts.kind = KindOfTurn(turn, blocks, past.fresh, extension.request);
  if (parent == kNoBlock) return facts;
  lists_[parent].end = static_cast<std::uint8_t>(End::kElsewhere);
  if (!lists_[parent].shared && IsRecent(parent, before)) {
    // What the same request found before: all its blocks go together.
    facts.when = lists_[parent].when;
    Regroup(parent, before, facts.kind, facts.cost_class, false);
  }
  return facts;
}

void TerracePolicy::Insert(const NewBlock& block) {
  TERRACE_CHECK(block.parent == kNoBlock || lists_.Linked(block.parent));
  if (lists_.kinds() < kinds_.size()) AddLists();  // the teacher knows more kinds by now
  UseState& state = lists_[block.block];
  const std::uint32_t length = block.position + block.behind + 1;
  state = {};
  state.tag = TagOf(block.identity);
  state.when = block.request.extended ? block.request.when : Now();
  std::uint16_t kind = block.request.kind;
  std::int8_t cost_class = block.request.cost_class;
  if (!block.request.extended) {
    cost_class = learned_->costs().ClassOf(block.request);
    const std::uint64_t identities[] = {block.identity};
    const Past past = PastOf(identities, 1);
    kind = KindOfTurn(past.turn + 1, length, past.fresh, block.request);
  }
  if (block.partial) kind = kinds_.OfPartial();
  SetKind(block.block, kind, cost_class);
  if (teaches_ && !block.returns) learned_->costs().Came(block.request);
  const End last = block.got ? End::kUsed : End::kPut;
  state.end = static_cast<std::uint8_t>(block.behind <= 1 ? last : End::kElsewhere);
  // Just before its parent, if that is of the same request.
  const bool joins = block.parent != kNoBlock && lists_[block.parent].list == state.list &&
                     lists_[block.parent].when == state.when;
  if (joins) {
    lists_.InsertBefore(block.block, block.parent);
  } else {
    lists_.Append(block.block);
  }
  open_ = state.when;
  CountUse(state, Shown(length, block.request));
  NoteUse(open_);
}

void TerracePolicy::Touch(std::span<const BlockId> chain, const RequestFacts& request) {
  if (chain.empty()) return;
  if (IsRecent(chain.back(), chain.size())) return TouchAgain(chain);
  UseState& last = lists_[chain.back()];
  const auto end = static_cast<End>(last.end);
  const bool went_on = end == End::kElsewhere || end == End::kStopped;
  const std::uint32_t turn = std::min<std::uint32_t>(
      last.shared ? 1 : last.turn + (end == End::kUsed ? 0U : 1U), BlockKinds::kTurnMax);
  last.end = static_cast<std::uint8_t>(went_on ? End::kStopped : End::kUsed);
  const std::uint16_t kind =
      KindOfTurn(turn, static_cast<std::uint32_t>(chain.size() << request.thinned), 0, request);
  const std::int8_t cost_class = learned_->costs().ClassOf(request);
  open_ = Now();
  for (std::size_t i = chain.size(); i-- > 0;) {
    const BlockId block = chain[i];
    UseState& state = lists_[block];
    lists_.Unlink(block);
    if (state.shared) {
      state.turn = static_cast<std::uint8_t>(std::min(state.turn + 1, 7) & 7);
      SetKind(block, kinds_.OfShared(state.turn), cost_class);
    } else if (KindOf(block) != kinds_.OfPartial()) {
      SetKind(block, kind, cost_class);
    }
    state.when = open_;
    lists_.Append(block);
    CountUse(state, chain.size());
  }
  NoteUse(open_);
}

// A decode gets what its prefill put, or a request what it got a moment ago: no turn of its own.
void TerracePolicy::TouchAgain(std::span<const BlockId> chain) {
  const std::uint32_t began = lists_[chain.back()].when;
  open_ = Now();
  for (std::size_t i = chain.size(); i-- > 0;) {
    UseState& state = lists_[chain[i]];
    lists_.Unlink(chain[i]);
    state.when = open_;
    lists_.Append(chain[i]);
    CountUse(state, chain.size());
  }
  NoteUse(began);
  NoteUse(open_);
}

void TerracePolicy::PutOff(const NewBlock& block) {
  lists_.Unlink(block.block);
  UseState& state = lists_[block.block];
  state.list =
      lists_.ListOf(kinds_.OfPutOff(), 0);  // its turn stays, and so does what is told of its use
  state.when = Now();
  lists_.Append(block.block);
}

void TerracePolicy::Evict(BlockId block) {
  // Its parent, if that is what comes behind it, is where the chain ends from now on.
  const UseState& state = lists_[block];
  const BlockId next = lists_.Next(block);
  if (next != kNoBlock && lists_[next].when == state.when &&
      static_cast<End>(lists_[next].end) == End::kElsewhere) {
    lists_[next].end = state.end;
  }
  lists_.Unlink(block);
}

void TerracePolicy::SetKind(BlockId block, std::uint16_t kind, std::int8_t cost_class) {
  UseState& state = lists_[block];
  const std::size_t lists = lists_.size();
  state.list = lists_.ListOf(kind, cost_class);
  if (lists_.size() > lists) ends_.Reset();
  if (!state.shared) state.turn = static_cast<std::uint8_t>(kinds_.TurnOf(kind) & 7);
}

void TerracePolicy::Regroup(BlockId head, std::size_t count, std::uint16_t kind,
                            std::int8_t cost_class, bool shared) {
  const std::uint16_t old_list = lists_[head].list;
  const std::uint32_t when = lists_[head].when;
  if (lists_.KindOf(old_list) == kind && lists_.ClassOf(old_list) == cost_class) return;
  for (BlockId block = head; count > 0 && block != kNoBlock; --count) {
    UseState& state = lists_[block];
    if (state.when != when || state.list != old_list) return;
    const BlockId next = lists_.Next(block);
    lists_.Unlink(block);
    state.shared = shared ? 1 : 0;
    if (shared) state.turn = 1;
    SetKind(block, kind, cost_class);
    lists_.Append(block);
    if (teaches_) learned_->Renamed(state.tag, kind);
    block = next;
  }
}

void TerracePolicy::CountUse(const UseState& state, std::size_t blocks) {
  if (teaches_) learned_->Used(state.tag, lists_.KindOf(state.list), blocks, state.when);
}

void TerracePolicy::TakeOver() {
  estimate_ = learned_->estimate();
  AddLists();
}

void TerracePolicy::AddLists() {
  lists_.Resize(kinds_.size());
  ends_.Reset();
}

std::uint16_t TerracePolicy::KindOfTurn(std::uint32_t turn, std::uint32_t blocks,
                                        std::uint32_t fresh, const RequestFacts& request) {
  const std::uint16_t kind = kinds_.OfTurn(turn, blocks, fresh, request);
  if (lists_.kinds() < kinds_.size()) AddLists();
  return kind;
}

BlockId TerracePolicy::First() {
  if (learned_->history().WantsEstimate()) learned_->Learn();
  if (estimate_ != learned_->estimate()) TakeOver();
  rest_ = kNoBlock;
  first_ = again_ > 0 ? Again() : kNoBlock;
  if (first_ != kNoBlock) {
    --again_;
  } else {
    first_ = Search();
  }
  return first_;
}

/// From the end where the last search found its block, unless what is there is more valuable by now
/// than the next best was.
BlockId TerracePolicy::Again() {
  const BlockId block = ends_.EndOf(found_list_, found_old_, open_);
  return block != kNoBlock && Value(block) <= bound_ ? block : kNoBlock;
}

/// The least valuable of all ends of lists.
BlockId TerracePolicy::Search() {
  const ListEnds::Least least = ends_.Find(open_);
  again_ = again_most_;
  if (teaches_) learned_->FitTo(lists_.Blocks());
  if (least.block != kNoBlock) {
    found_list_ = least.list;
    found_old_ = least.old;
    second_list_ = least.oldest_list;
    bound_ = least.bound;
    return least.block;
  }
  // All are put off, or of the request under way.
  bound_ = kNoValue;
  found_old_ = true;
  second_list_ = kinds_.OfPutOff();
  found_list_ = second_list_;
  if (lists_.Oldest(found_list_) != kNoBlock) return lists_.Oldest(found_list_);
  const BlockId first = ListAfter(found_list_);
  if (first != kNoBlock) found_list_ = lists_[first].list;
  return first;
}

/// What leaves next comes from the end where the first did, up to what is more valuable than the
/// next best end; then from the other lists, each from its oldest block on; then the rest.
BlockId TerracePolicy::After(BlockId block) const noexcept {
  const std::size_t list = lists_[block].list;
  const bool found = list == found_list_;
  BlockId next = found && !found_old_ ? lists_.FromYoung(block, open_) : lists_.Next(block);
  if (found && rest_ == kNoBlock && next != kNoBlock && Value(next) > bound_) rest_ = next;
  if (next != kNoBlock && !(found && next == rest_)) return next;
  if (found && next == kNoBlock && rest_ != kNoBlock) return kNoBlock;  // that was the rest
  next = ListAfter(list);
  return next != kNoBlock ? next : rest_;
}

/// The oldest block of the list after that one: behind the list that the first came from the one
/// whose oldest block is worth least, then the others, at last what was put off.
BlockId TerracePolicy::ListAfter(std::size_t list) const noexcept {
  const std::size_t last = kinds_.OfPutOff();
  const bool second = list == found_list_ && second_list_ != found_list_;
  if (second && lists_.Oldest(second_list_) != kNoBlock) return lists_.Oldest(second_list_);
  const bool begins = list == found_list_ || list == second_list_;
  if (list == last && !begins) return kNoBlock;
  for (list = begins ? 0 : list + 1; list < lists_.size(); ++list) {
    const bool its_turn = list != found_list_ && list != second_list_ && list != last;
    if (its_turn && lists_.Oldest(list) != kNoBlock) return lists_.Oldest(list);
  }
  return last == found_list_ || last == second_list_ ? kNoBlock : lists_.Oldest(last);
}

double TerracePolicy::ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept {
  if (!learned_->history().Knows()) return 1;
  const UseState& state = lists_[block];
  const std::uint32_t age = Now() - state.when;
  const std::uint64_t ticks = std::min<std::uint64_t>(blocks / learned_->uses_per_tick(), 1U << 30);
  const std::uint32_t until = age + static_cast<std::uint32_t>(ticks);
  return std::min(ReuseBefore(learned_->HazardsOf(lists_.KindOf(state.list)), age, until),
                  kAlmostCertain);
}

}  // namespace

std::unique_ptr<EvictionPolicy> MakeTerracePolicy(std::size_t capacity_blocks) {
  return std::make_unique<TerracePolicy>(capacity_blocks,
                                         std::make_shared<LearnedReuse>(capacity_blocks), true);
}

}  // namespace terrace
