// SignalsBlocked: no signal is handled on this thread, nor on one that it starts, while it lives.
//
// For starting threads of ours inside an engine: they must never run a handler of the engine's.
// Lives in one scope of one thread.
#pragma once

#include <csignal>

namespace terrace {

class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace terrace
