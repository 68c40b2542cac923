// Status: how an operation ended, named by what the caller should do about it.
//
// No exceptions cross a Terrace interface; every function that can fail returns a Status or a
// Result<T>. A Status is cheap when it is ok (no allocation). Values are immutable and may be
// copied between threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace terrace {

/// The reaction that an outcome asks for. The numbers are part of the wire protocol: append only.
enum class StatusCode : std::uint8_t {
  kOk = 0,
  kMiss = 1,           ///< Not stored, or not any more: compute it.
  kExists = 2,         ///< A put found the block already stored; nothing was written.
  kPending = 3,        ///< Being written by somebody now: ask again or compute it.
  kRetry = 4,          ///< Temporarily refused (no space, queue full): try later or compute it.
  kExpired = 5,        ///< A lease or an incarnation ended: the bytes must not be used.
  kCorrupt = 6,        ///< A checksum did not match: the destination must not be used.
  kTimeout = 7,        ///< The deadline passed; no device touches the caller's memory any more.
  kCancelled = 8,      ///< Cancelled by the caller; no device touches the caller's memory any more.
  kPeerDead = 9,       ///< The daemon (or the client) is gone: treat as a miss.
  kIncompatible = 10,  ///< Another protocol version, or the same namespace name with another
                       ///< fingerprint: mend the configuration.
  kInvalid = 11,       ///< The caller passed something wrong: the message names the argument.
  kIo = 12,            ///< A device failed.
  kUnsupported = 13,   ///< Not available in this build, on this host or on this link.
  kInDoubt = 14,       ///< The deadline passed and the daemon did not confirm that it stopped: the
                       ///< buffers must not be reused until the region is quiescent again.
  kInternal = 15,      ///< A bug; the message says where.
};
inline constexpr int kStatusCodeCount = 16;

/// The name used in logs, metrics and documents, e.g. "miss". Never null.
std::string_view StatusCodeName(StatusCode code) noexcept;

class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  explicit Status(StatusCode code) noexcept : code_(code) {}
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() noexcept { return {}; }
  static Status Invalid(std::string message) { return {StatusCode::kInvalid, std::move(message)}; }
  static Status Internal(std::string message) {
    return {StatusCode::kInternal, std::move(message)};
  }

  [[nodiscard]] bool ok() const noexcept { return code_ == StatusCode::kOk; }
  [[nodiscard]] StatusCode code() const noexcept { return code_; }
  /// The exact cause, with the place; may be empty.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  /// "ok", "miss", "invalid: keys[3] has 65 bytes, at most 64".
  [[nodiscard]] std::string ToString() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

}  // namespace terrace
