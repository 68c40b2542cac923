// Answer: what a terrace_result holds, in the C++ form that owns it and the C form that shows it.
//
// Immutable once made, but for the blocks that are lent, which may be given back by any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "client/terrace.h"
#include "client/terrace.hpp"
#include "client/terrace_events.h"

namespace terrace::c {

class Answer {
 public:
  explicit Answer(Completion completion);
  explicit Answer(std::vector<LentBlock> lent);
  explicit Answer(PrefixMatch prefix);
  explicit Answer(MatchResult match);
  explicit Answer(std::vector<Sample> samples);
  explicit Answer(std::vector<NamespaceInfo> namespaces);
  explicit Answer(EventBatch events);
  ~Answer() = default;
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  /// Its pointers are valid as long as the Answer.
  [[nodiscard]] const terrace_answer& view() const noexcept { return view_; }
  /// Null unless it is of a read of events; likewise.
  [[nodiscard]] const terrace_event_batch* events() const noexcept {
    return owned_.events == nullptr ? nullptr : &event_view_;
  }
  /// Of a match; kInvalid when it is of none.
  [[nodiscard]] Result<LoadPlan> Plan(const PlanRequest& request) const;
  /// kInvalid names `index`.
  [[nodiscard]] Status LentIntact(std::uint64_t index) const;
  Status LentRelease(std::uint64_t index);

 private:
  void ShowBlocks();
  void ShowLent();
  void ShowMatch();
  void ShowPrefix();
  void ShowLoadFrom(const std::vector<LoadSource>& sources);
  void ShowSamples();
  void ShowNamespaces();
  void ShowEvents();
  [[nodiscard]] Status CheckLent(std::uint64_t index) const;

  Completion owned_;
  std::vector<Sample> owned_samples_;
  std::vector<NamespaceInfo> owned_namespaces_;

  std::vector<terrace_block_result> blocks_;
  std::vector<terrace_lent> lent_;
  std::vector<terrace_group_presence> groups_;
  std::vector<terrace_group_loads> group_loads_;
  std::vector<terrace_load_source> load_from_;
  std::vector<terrace_sample> samples_;
  std::vector<terrace_namespace_info> namespaces_;
  std::vector<terrace_event> events_;
  std::vector<terrace_event_gap> gaps_;
  std::vector<std::byte> cursor_;
  terrace_event_batch event_view_{};
  terrace_answer view_{};
};

}  // namespace terrace::c
