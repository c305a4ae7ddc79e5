// A rank of an MPI job, which does what it is told: `slow RANK` is busy for longer than silence may
// last, `stop RANK` stands still for good. The others gather, and say what came of it.
#include <chrono>
#include <csignal>
#include <iostream>
#include <string>
#include <thread>

#include "processes/mpi_exchange.h"

int main(int argc, char** argv) {
  using namespace kvhaul;
  if (argc != 3) return 2;
  auto exchange = join_mpi("mpi_ranks", 60 * s_ns, 4 * s_ns);
  if (!exchange) {
    std::cout << exchange.error().message << std::endl;
    return 3;
  }
  const auto gather = [&] {
    const auto all = all_gather(**exchange, std::to_string((*exchange)->rank()));
    if (!all) {
      (*exchange)->abandon(all.error());
      return false;
    }
    std::string words;
    for (const std::string& word : *all) words += word;
    if ((*exchange)->rank() == 0) std::cout << "came: " << words << std::endl;
    return true;
  };
  if (!gather()) return 1;
  if (std::to_string((*exchange)->rank()) == argv[2]) {
    if (std::string(argv[1]) == "stop") raise(SIGSTOP);
    std::this_thread::sleep_for(std::chrono::seconds(10));
  }
  return gather() ? 0 : 1;
}
