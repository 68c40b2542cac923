// A Comparison for people at a terminal, for browsers, and for programs. a and b: names of the two
// documents, their files. Thread: any; nothing is kept.
#pragma once

#include <string>

#include "tools/replay/page/compare.h"

namespace terrace::replay {

[[nodiscard]] std::string CompareText(const Comparison& comparison, const std::string& a,
                                      const std::string& b);
[[nodiscard]] std::string ComparePage(const Comparison& comparison, const std::string& a,
                                      const std::string& b);
[[nodiscard]] Document CompareJson(const Comparison& comparison, const std::string& a,
                                   const std::string& b);

}  // namespace terrace::replay
