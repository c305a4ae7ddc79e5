// kvhaul COMMAND [options]
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cli/command.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "scenarios/yaml_reader.h"

namespace {

using namespace kvhaul;
using namespace kvhaul::cli;

void print_help(std::FILE* out) {
  std::fprintf(out,
               "kvhaul: one transfer scheduler for KV caches, on real and on simulated links\n\n"
               "kvhaul COMMAND [options]\n\n");
  for (const Command& command : commands())
    std::fprintf(out, "  %-11s%s\n", std::string(command.name).c_str(),
                 std::string(command.summary).c_str());
  std::fprintf(out,
               "\n  kvhaul COMMAND --help    its options, with examples\n"
               "  kvhaul --version\n\n"
               "Exit codes: 0 success, 1 ran but transfers failed or a check fell short,\n"
               "2 bad usage or input, 3 this machine lacks what was asked.\n");
}

/// With `json` programs can read it where they read the result, too.
int fail(const Error& error, bool json) {
  print_error(error.message);
  if (json) std::cout << json_text({{"schema", 1}, {"error", error.message}}) << std::flush;
  return static_cast<int>(error.kind);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
      arguments[0] == "help") {
    print_help(arguments.empty() ? stderr : stdout);
    return arguments.empty() ? 2 : 0;
  }
  if (arguments[0] == "--version") {
    std::printf("kvhaul %s\n", version);
    return 0;
  }
  const bool json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    names.emplace_back(command.name);
    if (command.name != arguments[0]) continue;
    const CommandResult result = command.run({arguments.begin() + 1, arguments.end()});
    if (!result) return fail(result.error(), json);
    // What was printed must have arrived: a full disk behind a redirection is a failure.
    std::cout.flush();
    if (std::fflush(stdout) != 0 || !std::cout)
      return fail(Error::failed("the output could not be written"), false);
    return *result;
  }
  return fail(unknown_choice("kvhaul", arguments[0], names), json);
}
