// With --hold SOCKET this program is the other process of two_processes_test.cpp.
#include <string_view>

#include <gtest/gtest.h>

#include "backends/cuda/peer_memory.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--hold") {
    const auto held = kvhaul::cuda::hold_memory(argv[2], 0, [] {});
    if (!held) std::fprintf(stderr, "%s\n", held.error().message.c_str());
    return held ? 0 : 1;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
