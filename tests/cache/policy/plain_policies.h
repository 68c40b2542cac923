// The policies in the textbooks' words, over containers that find everything by looking: what the
// fast ones are compared with.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/policy/eviction_policy.h"

namespace terrace::test {

class Plain {
 public:
  virtual ~Plain() = default;
  virtual void Insert(BlockId block, BlockId parent, std::uint64_t identity) = 0;
  virtual void Touch(const std::vector<BlockId>& chain) = 0;
  virtual void Remove(BlockId block) = 0;
  virtual void Evict(BlockId block) { Remove(block); }
  /// All of them, who leaves first first. REQUIRES: some are there.
  virtual std::vector<BlockId> Order() = 0;
};

class PlainQueue final : public Plain {
 public:
  explicit PlainQueue(bool lru) : lru_(lru) {}
  void Insert(BlockId block, BlockId /*parent*/, std::uint64_t /*identity*/) override {
    queue_.push_back(block);
  }
  void Touch(const std::vector<BlockId>& chain) override {
    for (const BlockId block : chain) {
      if (!lru_) return;
      Remove(block);
      queue_.push_back(block);
    }
  }
  void Remove(BlockId block) override { std::erase(queue_, block); }
  std::vector<BlockId> Order() override { return queue_; }

 private:
  bool lru_;
  std::vector<BlockId> queue_;
};

class PlainLeafLru final : public Plain {
 public:
  void Insert(BlockId block, BlockId parent, std::uint64_t /*identity*/) override {
    queue_.insert(std::ranges::find(queue_, parent), block);
  }
  void Touch(const std::vector<BlockId>& chain) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      Remove(chain[i]);
      queue_.push_back(chain[i]);
    }
  }
  void Remove(BlockId block) override { std::erase(queue_, block); }
  std::vector<BlockId> Order() override { return queue_; }

 private:
  std::vector<BlockId> queue_;
};

class PlainLfu final : public Plain {
 public:
  void Insert(BlockId block, BlockId /*parent*/, std::uint64_t /*identity*/) override {
    entries_[block] = {1, ++now_};
  }
  void Touch(const std::vector<BlockId>& chain) override {
    for (const BlockId block : chain) {
      auto& [uses, last] = entries_[block];
      uses = std::min(uses + 1, 255);
      last = ++now_;
    }
  }
  void Remove(BlockId block) override { entries_.erase(block); }
  std::vector<BlockId> Order() override {
    std::vector<BlockId> order;
    for (const auto& [block, entry] : entries_) order.push_back(block);
    std::ranges::sort(order, {}, [this](BlockId block) { return entries_[block]; });
    return order;
  }

 private:
  std::map<BlockId, std::pair<int, std::uint64_t>> entries_;
  std::uint64_t now_ = 0;
};

class PlainSieve final : public Plain {
 public:
  void Insert(BlockId block, BlockId /*parent*/, std::uint64_t /*identity*/) override {
    queue_.push_back({block, false});
  }
  void Touch(const std::vector<BlockId>& chain) override {
    for (const BlockId block : chain) Find(block)->second = true;
  }
  void Remove(BlockId block) override {
    const auto found = Find(block);
    const auto place = static_cast<std::size_t>(found - queue_.begin());
    queue_.erase(found);
    if (place < hand_) --hand_;
    if (hand_ >= queue_.size()) hand_ = 0;  // past the newest, whatever comes meanwhile
  }
  std::vector<BlockId> Order() override {
    while (queue_[hand_].second) {
      queue_[hand_].second = false;
      hand_ = (hand_ + 1) % queue_.size();
    }
    std::vector<BlockId> order;
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      order.push_back(queue_[(hand_ + i) % queue_.size()].first);
    }
    return order;
  }

 private:
  using Queue = std::vector<std::pair<BlockId, bool>>;
  Queue::iterator Find(BlockId block) {
    return std::ranges::find(queue_, block, &Queue::value_type::first);
  }
  Queue queue_;  // oldest first
  std::size_t hand_ = 0;
};

class PlainS3Fifo final : public Plain {
 public:
  void Insert(BlockId block, BlockId /*parent*/, std::uint64_t identity) override {
    const auto ghost = std::ranges::find(ghosts_, identity);
    const bool back = ghost != ghosts_.end();
    if (back) ghosts_.erase(ghost);
    (back ? main_ : small_).push_back({block, identity, 0});
  }
  void Touch(const std::vector<BlockId>& chain) override {
    for (auto* queue : {&small_, &main_}) {
      for (Entry& entry : *queue) {
        if (std::ranges::find(chain, entry.block) != chain.end())
          entry.uses = std::min(entry.uses + 1, 3);
      }
    }
  }
  void Remove(BlockId block) override {
    for (auto* queue : {&small_, &main_}) {
      std::erase_if(*queue, [block](const Entry& entry) { return entry.block == block; });
    }
  }
  void Evict(BlockId block) override {
    const auto found = std::ranges::find(small_, block, &Entry::block);
    if (found != small_.end()) {
      while (ghosts_.size() >= std::max<std::size_t>((small_.size() + main_.size()) * 9 / 10, 1)) {
        ghosts_.pop_front();
      }
      ghosts_.push_back(found->identity);
    }
    Remove(block);
  }
  std::vector<BlockId> Order() override {
    const bool from_small = Age();
    std::vector<BlockId> order;
    for (const auto* queue : {from_small ? &small_ : &main_, from_small ? &main_ : &small_}) {
      for (const Entry& entry : *queue) order.push_back(entry.block);
    }
    return order;
  }

 private:
  struct Entry {
    BlockId block;
    std::uint64_t identity;
    int uses;
  };
  /// Until the front of one queue may go. @return whether that is the small one.
  bool Age() {
    for (;;) {
      if (main_.empty() || small_.size() * 10 >= small_.size() + main_.size()) {
        if (small_.front().uses <= 1) return true;
        main_.push_back({small_.front().block, small_.front().identity, 0});
        small_.pop_front();
      } else {
        if (main_.front().uses == 0) return false;
        Entry entry = main_.front();
        --entry.uses;
        main_.pop_front();
        main_.push_back(entry);
      }
    }
  }
  std::deque<Entry> small_, main_;
  std::deque<std::uint64_t> ghosts_;
};

/// Null for a policy that has none: a new policy needs one, or another test, as terrace has, which
/// no textbook tells of.
inline std::unique_ptr<Plain> PlainOf(std::string_view name) {
  if (name == "leaf-lru") return std::make_unique<PlainLeafLru>();
  if (name == "lru") return std::make_unique<PlainQueue>(true);
  if (name == "fifo") return std::make_unique<PlainQueue>(false);
  if (name == "lfu") return std::make_unique<PlainLfu>();
  if (name == "sieve") return std::make_unique<PlainSieve>();
  if (name == "s3fifo") return std::make_unique<PlainS3Fifo>();
  return nullptr;
}

}  // namespace terrace::test
