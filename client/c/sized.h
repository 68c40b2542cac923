// Structs that begin with struct_size, of any version of the header. Pure functions, any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "client/c/call.h"

namespace terrace::c {

/// A struct that is larger than this was not prepared: struct_size holds whatever was there.
inline constexpr std::uint32_t kStructSizeMax = 4096;

inline Status WrongSize(const std::string& name, std::uint32_t size, std::uint32_t least) {
  return Status::Invalid(name + ".struct_size is " + std::to_string(size) + ", not " +
                         std::to_string(least) + " to " + std::to_string(kStructSizeMax) +
                         ": set it to sizeof of the struct");
}

/// The struct as this library knows it, whatever version the caller was compiled with.
template <typename T>
Result<T> ReadSized(const T* from, std::uint32_t least, const char* name) {
  if (Status status = NotNull(from, name); !status.ok()) return status;
  const std::uint32_t size = from->struct_size;
  if (size < least || size > kStructSizeMax) return WrongSize(name, size, least);
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  if (size > sizeof(T) &&
      std::any_of(bytes + sizeof(T), bytes + size, [](unsigned char byte) { return byte != 0; })) {
    return Status(StatusCode::kUnsupported, std::string(name) + " of " + std::to_string(size) +
                                                " bytes sets fields that this library, of " +
                                                std::to_string(sizeof(T)) +
                                                " bytes, does not know");
  }
  T known{};
  std::memcpy(&known, from, std::min<std::size_t>(size, sizeof(T)));
  return known;
}

}  // namespace terrace::c
