#include "tools/common/nearest_name.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace terrace {

namespace {

constexpr std::size_t kLengthMax = 64;
using Row = std::array<std::size_t, kLengthMax + 1>;

// Restricted Damerau-Levenshtein distance, by three rows of the table. REQUIRES: lengths at most
// kLengthMax.
std::size_t EditDistance(std::string_view left, std::string_view right) {
  std::array<Row, 3> rows;
  for (std::size_t column = 0; column <= right.size(); ++column) rows[0][column] = column;
  for (std::size_t row = 1; row <= left.size(); ++row) {
    const Row& before_last = rows[(row + 1) % 3];  // of row - 2: read from the second row on
    const Row& last = rows[(row + 2) % 3];
    Row& current = rows[row % 3];
    current[0] = row;
    for (std::size_t column = 1; column <= right.size(); ++column) {
      const std::size_t replaced =
          last[column - 1] + (left[row - 1] == right[column - 1] ? 0U : 1U);
      current[column] = std::min({replaced, last[column] + 1, current[column - 1] + 1});
      if (row > 1 && column > 1 && left[row - 1] == right[column - 2] &&
          left[row - 2] == right[column - 1]) {
        current[column] = std::min(current[column], before_last[column - 2] + 1);
      }
    }
  }
  return rows[left.size() % 3][right.size()];
}

}  // namespace

std::string_view NearestName(std::string_view name, std::span<const std::string_view> known) {
  std::string_view best;
  std::size_t best_distance = kLengthMax + 1;
  if (name.size() > kLengthMax) return best;
  for (const std::string_view candidate : known) {
    if (candidate.size() > kLengthMax) continue;
    const std::size_t longer = std::max(name.size(), candidate.size());
    const std::size_t allowed = 1 + longer / 3;
    // At least as many edits as the one is longer than the other.
    if (longer - std::min(name.size(), candidate.size()) > allowed) continue;
    const std::size_t distance = EditDistance(name, candidate);
    if (distance <= allowed && distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace terrace
