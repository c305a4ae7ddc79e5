// simulation [--seed S] [--first F --seeds N]: runs worlds and says what each came to.
// Exit 0 when every invariant held, 1 when one did not, 2 on bad usage.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "tests/simulation/world.h"

int main(int argc, char** argv) {
  using namespace kvhaul::simulation;
  std::uint64_t first = 1, count = 1000;
  bool one = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    std::uint64_t value = 0;
    const char* end = argv[i + 1] + std::strlen(argv[i + 1]);
    if (std::from_chars(argv[i + 1], end, value).ptr != end) argc = 0;
    if (name == "--seed")
      first = value, count = 1, one = true;
    else if (name == "--first")
      first = value;
    else if (name == "--seeds")
      count = value;
    else
      argc = 0;
  }
  if (argc == 0 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: simulation [--seed S] [--first F] [--seeds N]\n");
    return 2;
  }
  Verdict sum;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const World world = draw_world(seed);
    if (one)
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
                  world.describe().c_str());
    const Verdict verdict = simulate(world);
    sum.chunks += verdict.chunks;
    sum.resent += verdict.resent;
    sum.delivered += verdict.delivered;
    sum.cancelled += verdict.cancelled;
    sum.failed += verdict.failed;
    sum.credit_messages += verdict.credit_messages;
    sum.faults += verdict.faults;
    if (verdict.ok) continue;
    std::printf("seed %llu: %s\n  %s\n  again: %s --seed %llu\n",
                static_cast<unsigned long long>(seed), verdict.what.c_str(),
                world.describe().c_str(), argv[0], static_cast<unsigned long long>(seed));
    return 1;
  }
  std::printf(
      "%llu seeds, no invariant broken: %llu chunks, %llu of them again after %llu faults; "
      "transfers: %llu delivered, %llu cancelled, %llu failed; %llu credit messages\n",
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(sum.chunks),
      static_cast<unsigned long long>(sum.resent), static_cast<unsigned long long>(sum.faults),
      static_cast<unsigned long long>(sum.delivered),
      static_cast<unsigned long long>(sum.cancelled), static_cast<unsigned long long>(sum.failed),
      static_cast<unsigned long long>(sum.credit_messages));
  return 0;
}
