// The entry of libFuzzer, for the one target that TERRACE_FUZZ_TARGET names.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  terrace::fuzz::TERRACE_FUZZ_TARGET.run(std::as_bytes(std::span(data, size)));
  return 0;
}
