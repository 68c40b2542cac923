// fuzz_seeds FOLDER: writes the seeds of every target to FOLDER/TARGET/seed-N.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/fuzz_target.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_seeds FOLDER\n", stderr);
    return 2;
  }
  for (const terrace::fuzz::Target* target : terrace::fuzz::AllTargets()) {
    const std::filesystem::path folder = std::filesystem::path(argv[1]) / target->name;
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    std::size_t number = 0;
    for (const terrace::fuzz::Bytes& seed : target->seeds()) {
      std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
      file.write(reinterpret_cast<const char*>(seed.data()),
                 static_cast<std::streamsize>(seed.size()));
      if (!file) {
        std::fprintf(stderr, "cannot write to %s\n", folder.c_str());
        return 1;
      }
    }
  }
  return 0;
}
