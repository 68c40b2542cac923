#include "tiers/hbm/gpus.h"

namespace terrace {

std::string DescribeGpus(const GpusFound& found) {
  if (found.gpus.empty()) return "no GPU: " + found.why_none;
  std::string text =
      std::to_string(found.gpus.size()) + (found.gpus.size() == 1 ? " GPU" : " GPUs");
  const char* separator = ": ";
  for (const Gpu& gpu : found.gpus) {
    text += separator + std::to_string(gpu.index) + " " + gpu.name + " (" +
            std::to_string(gpu.bytes / 1'000'000'000) + " GB)";
    separator = ", ";
  }
  return text;
}

}  // namespace terrace
