// kvhaul hold: GPU memory for a replay in another process, as prefill and decode have it who are
// processes of their own.
#include <iostream>

#include "cli/command.h"
#ifdef KVHAUL_HAS_CUDA
#include "backends/cuda/cuda.h"
#include "backends/cuda/peer_memory.h"
#endif

namespace kvhaul::cli {
namespace po = boost::program_options;

CommandResult run_hold(const Arguments& arguments) {
  Options options("hold", "SOCKET [options]",
                  "Holds GPU memory for one replay in another process of this machine, which maps\n"
                  "it by CUDA IPC ('kvhaul replay --backend cuda --held PLACE=SOCKET'). What is\n"
                  "handed over and not copied it maps itself, and reads in place. It computes the\n"
                  "checksums of the place. Ends when that process does.");
  options.add()                                                                     //
      ("socket", po::value<std::string>(), "where to listen: a path that is free")  //
      ("device", po::value<std::string>()->default_value("0"), "the CUDA device");
  options.positional("socket", 1);
  options.example("kvhaul hold /run/user/1000/decode.sock",
                  "then, elsewhere: kvhaul replay -b cuda --held "
                  "node0/gpu1=/run/user/1000/decode.sock --devices 0,0 ...");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const auto socket = options.maybe_text("socket");
  if (!socket) return Error::bad_input("kvhaul hold: expected SOCKET; see 'kvhaul hold --help'");
  auto device = options.count("device", 0, 1023);
  if (!device) return device.error();
#ifdef KVHAUL_HAS_CUDA
  if (const std::string missing = cuda::missing(); !missing.empty()) return Error::missing(missing);
  auto held = cuda::hold_memory(*socket, static_cast<int>(*device), [&] {
    std::cout << "holding memory for who connects to " << *socket << std::endl;
  });
  if (!held) return held.error();
  return 0;
#else
  return Error::missing("kvhaul hold: built without CUDA");
#endif
}

}  // namespace kvhaul::cli
