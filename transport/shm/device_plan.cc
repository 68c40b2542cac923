#include "transport/shm/device_plan.h"

#include <algorithm>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace {
namespace {

using Part = DeviceCopier::Part;
using Sum = DeviceCopier::Sum;

std::uint64_t ToAlignment(const std::byte* at) {
  const std::uint64_t over = reinterpret_cast<std::uintptr_t>(at) % Sum::kAlignment;
  return over == 0 ? 0 : Sum::kAlignment - over;
}

/// Walks over both sides of a move at once.
class Planner {
 public:
  Planner(const RangeView& view, std::span<const std::span<std::byte>> places)
      : view_(view), places_(places) {}

  std::vector<DeviceStep> Plan() {
    for (std::uint64_t at = 0; at < view_.size(); at += kChecksumPieceBytes) {
      AddPiece(at, std::min<std::uint64_t>(kChecksumPieceBytes, view_.size() - at));
    }
    return std::move(steps_);
  }

 private:
  void AddPiece(std::uint64_t at, std::uint64_t bytes) {
    const std::vector<Part> parts = PartsOf(at, bytes);
    const std::size_t piece = at / kChecksumPieceBytes;
    if (LieTogether(parts) &&
        (bytes <= Sum::kShortBytes || ToAlignment(parts.front().device) == 0)) {
      DeviceStep& step = StepFor(parts.size(), 1);
      for (const Part& part : parts) Add(step, part);
      step.sums.push_back(
          {.device = parts.front().device, .bytes = static_cast<std::uint32_t>(bytes)});
      step.compared.push_back({.piece = piece});
      return;
    }
    for (const Part& part : parts) {
      DeviceStep& step = StepFor(1, 2);
      Add(step, part);
      const std::uint64_t head =
          part.bytes <= Sum::kShortBytes ? 0 : std::min(part.bytes, ToAlignment(part.device));
      if (head > 0) AddOddSum(step, part, 0, head);
      AddOddSum(step, part, head, part.bytes - head);
      if (step.odd_pieces.empty() || step.odd_pieces.back() != piece) {
        step.odd_pieces.push_back(piece);
      }
    }
  }

  /// Bytes [at, at + bytes) of the range: each part lies together on both sides.
  std::vector<Part> PartsOf(std::uint64_t at, std::uint64_t bytes) {
    std::vector<Part> parts;
    while (bytes > 0) {
      TERRACE_CHECK(place_ < places_.size());
      const std::span<std::byte> device = places_[place_].subspan(in_place_);
      const std::span<std::byte> host = view_.From(at);
      const std::uint64_t length = std::min<std::uint64_t>({bytes, device.size(), host.size()});
      parts.push_back({.device = device.data(), .host = host.data(), .bytes = length});
      at += length;
      bytes -= length;
      in_place_ += length;
      if (in_place_ < places_[place_].size()) continue;
      ++place_;
      in_place_ = 0;
    }
    return parts;
  }

  static bool LieTogether(const std::vector<Part>& parts) {
    if (parts.size() > DeviceCopier::kPartsMax) return false;
    for (std::size_t i = 1; i < parts.size(); ++i) {
      if (parts[i - 1].device + parts[i - 1].bytes != parts[i].device) return false;
    }
    return true;
  }

  /// A step with room for so many parts and sums.
  DeviceStep& StepFor(std::size_t parts, std::size_t sums) {
    if (steps_.empty() || steps_.back().bytes >= kDeviceStepBytes ||
        steps_.back().parts.size() + parts > DeviceCopier::kPartsMax ||
        steps_.back().sums.size() + sums > DeviceCopier::kSumsMax) {
      steps_.emplace_back();
    }
    return steps_.back();
  }

  static void Add(DeviceStep& step, const Part& part) {
    step.bytes += part.bytes;
    if (!step.parts.empty()) {
      Part& last = step.parts.back();
      if (last.device + last.bytes == part.device && last.host + last.bytes == part.host) {
        last.bytes += part.bytes;
        return;
      }
    }
    step.parts.push_back(part);
  }

  static void AddOddSum(DeviceStep& step, const Part& part, std::uint64_t from,
                        std::uint64_t bytes) {
    if (bytes == 0) return;
    step.sums.push_back({.device = part.device + from, .bytes = static_cast<std::uint32_t>(bytes)});
    step.compared.push_back({.frame = {part.host + from, bytes}});
  }

  const RangeView& view_;
  const std::span<const std::span<std::byte>> places_;
  std::size_t place_ = 0;
  std::uint64_t in_place_ = 0;
  std::vector<DeviceStep> steps_;
};

}  // namespace

std::vector<DeviceStep> PlanDeviceMove(const RangeView& view,
                                       std::span<const std::span<std::byte>> places) {
  return Planner(view, places).Plan();
}

}  // namespace terrace
