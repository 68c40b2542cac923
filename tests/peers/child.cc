#include "tests/peers/child.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

namespace terrace::peers {

namespace {
constexpr std::chrono::milliseconds kPoll{1};
}  // namespace

Status Child::Start(const std::string& program, const VictimOptions& options,
                    const std::string& output, const std::vector<std::string>& launcher) {
  std::vector<std::string> command = launcher;
  command.insert(command.end(),
                 {program, "--victim", options.address, "--seed", std::to_string(options.seed),
                  "--store", std::to_string(options.store), "--number",
                  std::to_string(options.number), "--signal", std::to_string(options.signal)});
  if (!options.point.empty()) command.insert(command.end(), {"--point", options.point});
  if (options.tcp) command.emplace_back("--tcp");
  if (options.calm) command.emplace_back("--calm");
  if (options.idle) command.emplace_back("--idle");
  output_ = output;
  ::unlink(output.c_str());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {StatusCode::kIo, std::strerror(errno)};
  pid_ = crash::Spawn(command, output, "", ends[0]);
  ::close(ends[0]);
  input_ = ends[1];
  if (pid_ < 0) return {StatusCode::kIo, "cannot run " + command.front()};
  state_ = State::kRuns;
  return {};
}

Child::State Child::Wait(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (state_ == State::kRuns) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG | WUNTRACED) == pid_) {
      if (WIFSTOPPED(status)) return state_ = State::kStopped;
      end_ = crash::EndOf(status);
      pid_ = -1;
      return state_ = State::kEnded;
    }
    if (std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(kPoll);
  }
  return state_;
}

void Child::Signal(int number) {
  if (pid_ <= 0) return;
  ::kill(pid_, number);
  if (number == SIGCONT && state_ == State::kStopped) state_ = State::kRuns;
}

void Child::TellToEnd() {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
}

void Child::End(int signal) {
  TellToEnd();
  if (pid_ <= 0) return;
  ::kill(pid_, signal);
  int status = 0;
  if (::waitpid(pid_, &status, 0) == pid_) end_ = crash::EndOf(status);
  pid_ = -1;
  state_ = State::kEnded;
}

std::string Child::Output() const {
  std::ifstream file(output_);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool Child::Await(std::string_view line_start, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const std::string wanted = "\n" + std::string(line_start);
  while (("\n" + Output()).find(wanted) == std::string::npos) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    if (Wait(std::chrono::milliseconds(2)) != State::kRuns) {
      return ("\n" + Output()).find(wanted) != std::string::npos;
    }
  }
  return true;
}

}  // namespace terrace::peers
