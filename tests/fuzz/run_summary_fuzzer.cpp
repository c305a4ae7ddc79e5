// Feeds bytes to the reader of a run's summary, and compares what it takes with itself.
#include <cstddef>
#include <cstdint>
#include <string>

#include "cli/compare_report.h"
#include "tests/fuzz/input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kvhaul;
  using namespace kvhaul::cli;
  const auto run = parse_summary(std::string(reinterpret_cast<const char*>(data), size), "run");
  if (!run) {
    check_error(run.error());
    return 0;
  }
  TransferPairs none;
  none.obstacle = "is only a summary";
  const std::vector<ComparedRun> runs = {{*run, none, {}}, {*run, none, {}}};
  const std::string text = compare_text(runs);
  check(text.find("the mean time to first token is the same as in A") != std::string::npos ||
            text.find("no request was completed") != std::string::npos,
        "a run does not differ from itself");
  for (const char c : text)
    check(static_cast<unsigned char>(c) >= 0x20 || c == '\n', "a table is printable");
  check(!compare_json(runs).empty() && !compare_csv(runs).empty(), "it can be exported");
  return 0;
}
