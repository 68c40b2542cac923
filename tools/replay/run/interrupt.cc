#include "tools/replay/run/interrupt.h"

namespace terrace::replay {
namespace {

// The only thing that a signal handler may do: note it.
volatile sig_atomic_t asked = 0;
void Note(int /*signal*/) { asked = 1; }

}  // namespace

InterruptNote::InterruptNote() {
  asked = 0;
  struct sigaction action{};
  action.sa_handler = Note;  // without SA_RESTART: a poll ends
  sigaction(SIGINT, &action, &old_interrupt_);
  sigaction(SIGTERM, &action, &old_terminate_);
}

InterruptNote::~InterruptNote() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

bool InterruptNote::Asked() noexcept { return asked != 0; }

}  // namespace terrace::replay
