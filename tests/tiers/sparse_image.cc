#include "tests/tiers/sparse_image.h"

#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "tests/tiers/store_on_disk.h"

namespace terrace::nvme {

namespace {

constexpr std::size_t kRowBytes = 32;

std::string HexOf(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(byte)));
    hex += digits.data();
  }
  return hex;
}

std::string BytesOf(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16));
  }
  return bytes;
}

}  // namespace

std::string SparseText(const std::string& path) {
  const std::size_t size = std::filesystem::file_size(path);
  const std::string bytes = ReadBytes(path, 0, size);
  const std::string zeros(kRowBytes, '\0');
  std::ostringstream text;
  std::size_t at = 0;
  while (at < size) {
    const std::string row = bytes.substr(at, kRowBytes);
    std::size_t rows = 1;
    while (bytes.compare(at + rows * kRowBytes, kRowBytes, row) == 0) ++rows;
    if (row != zeros)
      text << std::hex << at << ' ' << std::dec << rows << ' ' << HexOf(row) << '\n';
    at += rows * kRowBytes;
  }
  text << std::hex << size << " end\n";
  return text.str();
}

bool WriteSparse(const std::string& text, const std::string& path) {
  std::istringstream lines(text);
  std::string bytes;
  std::string count;
  std::uint64_t offset = 0;
  while (lines >> std::hex >> offset >> count) {
    if (offset < bytes.size()) return false;
    bytes.resize(offset, '\0');
    if (count == "end") {
      WriteBytes(path, 0, bytes);
      return true;
    }
    std::string hex;
    if (!(lines >> hex) || hex.size() != 2 * kRowBytes) return false;
    const std::string row = BytesOf(hex);
    for (int rows = std::stoi(count); rows > 0; --rows) bytes += row;
  }
  return false;
}

}  // namespace terrace::nvme
