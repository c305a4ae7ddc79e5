// simulation [--seed S] [--first F --seeds N]: runs worlds and says what each came to.
// simulation --decisions N: prints tests/simulation/decisions.txt, for worlds 1 to N.
// Exit 0 when every invariant held, 1 when one did not, 2 on bad usage.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <sys/time.h>
#include <unistd.h>

#include "tests/simulation/world.h"

namespace {

char endless[64];  // what to say about the world that runs

/// A world takes milliseconds. The watcher counts turns of the loop; what never comes back to the
/// loop is told by the processor's time that it has used.
void arm(std::uint64_t seed) {
  std::snprintf(endless, sizeof endless, "seed %llu: no end after 60 s of the processor\n",
                static_cast<unsigned long long>(seed));
  const itimerval limit{{0, 0}, {60, 0}};
  setitimer(ITIMER_VIRTUAL, &limit, nullptr);
}

void no_end(int) {
  if (write(STDOUT_FILENO, endless, std::strlen(endless)) < 0) _exit(2);
  _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace kvhaul::simulation;
  std::uint64_t first = 1, count = 1000;
  bool one = false, decisions = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    std::uint64_t value = 0;
    const char* end = argv[i + 1] + std::strlen(argv[i + 1]);
    if (std::from_chars(argv[i + 1], end, value).ptr != end) argc = 0;
    if (name == "--first") {
      first = value;
    } else if (name == "--seeds") {
      count = value;
    } else if (name == "--seed") {
      first = value;
      count = 1;
      one = true;
    } else if (name == "--decisions") {
      first = 1;
      count = value;
      decisions = true;
    } else {
      argc = 0;
    }
  }
  if (argc == 0 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: simulation [--seed S] [--first F] [--seeds N] [--decisions N]\n");
    return 2;
  }
  std::signal(SIGVTALRM, no_end);
  Verdict sum;
  std::uint64_t longest = first, slowest = first;  // seeds
  std::uint64_t crowded = 0, half = 0;             // worlds
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    arm(seed);
    const World world = draw_world(seed);
    if (one)
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
                  world.describe().c_str());
    const Verdict verdict = simulate(world);
    if (decisions) {
      std::printf("%llu %016llx\n", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(verdict.log_checksum));
      continue;
    }
    sum.chunks += verdict.chunks;
    sum.resent += verdict.resent;
    sum.delivered += verdict.delivered;
    sum.cancelled += verdict.cancelled;
    sum.failed += verdict.failed;
    sum.credit_messages += verdict.credit_messages;
    sum.faults += verdict.faults;
    sum.probes += verdict.probes;
    sum.lost_messages += verdict.lost_messages;
    sum.late_cancels += verdict.late_cancels;
    if (verdict.crowded_moments != 0) ++crowded;
    if (verdict.share_of_bound >= 50) ++half;
    if (verdict.steps > sum.steps) longest = seed;
    if (verdict.share_of_bound > sum.share_of_bound) slowest = seed;
    sum.steps = std::max(sum.steps, verdict.steps);
    sum.share_of_bound = std::max(sum.share_of_bound, verdict.share_of_bound);
    if (verdict.ok) continue;
    std::printf("seed %llu: %s\n  %s\n  again: %s --seed %llu\n",
                static_cast<unsigned long long>(seed), verdict.what.c_str(),
                world.describe().c_str(), argv[0], static_cast<unsigned long long>(seed));
    return 1;
  }
  if (decisions) return 0;
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu seeds, no invariant broken: %llu chunks, %llu of them again after %llu faults, %llu "
      "probes; transfers: %llu delivered, %llu cancelled, %llu failed; %llu credit messages, %llu "
      "lost; %llu cancels that took a while\n"
      "longest: seed %llu, %llu turns of the loop; nearest to its bound: seed %llu, %llu%%; worlds "
      "within half of their bound: %llu; worlds with three hungry senders of one place: %llu\n",
      n(count), n(sum.chunks), n(sum.resent), n(sum.faults), n(sum.probes), n(sum.delivered),
      n(sum.cancelled), n(sum.failed), n(sum.credit_messages), n(sum.lost_messages),
      n(sum.late_cancels), n(longest), n(sum.steps), n(slowest), n(sum.share_of_bound), n(half),
      n(crowded));
  return 0;
}
