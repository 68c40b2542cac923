// The known name that somebody probably meant, for messages about unknown names.
#pragma once

#include <span>
#include <string_view>

namespace terrace {

/// The element of `known` with the smallest edit distance (insert, delete, replace, swap of
/// neighbours: 1 each) from `name`; the first of equals. Empty when every one needs more edits than
/// a third of the longer name plus one. Lengths above 64 bytes are never near.
std::string_view NearestName(std::string_view name, std::span<const std::string_view> known);

}  // namespace terrace
