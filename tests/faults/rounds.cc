#include "tests/faults/rounds.h"

#include <filesystem>

namespace terrace::faults {

namespace {
constexpr std::uint64_t kDiskBytes = 64 << 20;
}  // namespace

std::string Round::MakeFolder(const std::string& name) const {
  std::string path = folder + "/" + name;
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return path;
}

Scene::Scene(const Round& the_round)
    : round(the_round), subject(the_round.programs, the_round.folder, the_round.judge) {
  settings.folder = round.MakeFolder("store");
  settings.io_uring = round.Draw(0, 3) != 0;
}

Scene::~Scene() {
  if (disk != nullptr) disk->Heal();
}

bool Scene::Begin() {
  Result<std::unique_ptr<FaultDisk>> mounted =
      FaultDisk::Mount(round.MakeFolder("mount"), kDiskBytes);
  if (!round.judge.Ran(mounted.status())) return false;
  disk = std::move(mounted).value();
  settings.files = {disk->path()};
  return round.judge.Ran(subject.Start(settings));
}

bool Scene::Restart() {
  if (round.Draw(0, 1) == 0) {
    subject.Stop();
  } else {
    subject.Kill();
  }
  return round.judge.Ran(subject.Start(settings));
}

}  // namespace terrace::faults
