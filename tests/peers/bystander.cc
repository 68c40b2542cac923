#include "tests/peers/bystander.h"

namespace terrace::peers {

void Bystander::Pause() {
  paused_ = false;
  pause_ = true;
  while (!paused_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Bystander::Run() {
  SeededRandom random(seed_);
  while (!stop_) {
    if (pause_) {
      paused_ = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    paused_ = false;
    load_->Any(random, true);
    // The victims shall have something of the machine, too.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace terrace::peers
