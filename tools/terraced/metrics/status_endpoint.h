// StatusEndpoint: the HTTP port for operators, on threads of its own.
//
//   GET /metrics   Prometheus text format, version 0.0.4
//   GET /healthz   200 "ok", or 503 with the reason
//   GET /advice    what other sizes would bring, JSON (tools/common/advice.h)
//   anything else  404
//
// Two threads serve requests and at most 16 connections wait for them; a connection is closed
// after a second of silence or 100 requests. A stuck scraper can starve other scrapers, never the
// reactors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "tools/common/listen_address.h"

namespace terrace {

class StatusEndpoint {
 public:
  struct Callbacks {
    std::function<std::string()> metrics;   ///< body of /metrics
    std::function<Status()> health;         ///< not ok: 503 with its message
    std::function<std::string()> advice{};  ///< body of /advice; none: 404
  };

  /// Listens and serves. The callbacks are called from the endpoint's threads, two at once, never
  /// after Stop returned; they must not block for long. kIo, with the address and the cause, when
  /// it cannot listen there.
  static Result<std::unique_ptr<StatusEndpoint>> Start(const ListenAddress& address,
                                                       Callbacks callbacks);
  /// Stops.
  ~StatusEndpoint();
  StatusEndpoint(const StatusEndpoint&) = delete;
  StatusEndpoint& operator=(const StatusEndpoint&) = delete;

  /// The port that is listened on (useful for port 0).
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// Ends within three seconds even when a client feeds its request byte by byte: the threads are
  /// then left behind, with nothing of the caller's to touch. A second call does nothing. Not from
  /// a callback.
  void Stop();

 private:
  struct Impl;
  explicit StatusEndpoint(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
  bool stopped_ = false;
};

}  // namespace terrace
