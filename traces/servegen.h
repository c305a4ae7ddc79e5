// Requests generated from the fitted clients of ServeGen (docs/traces.md).
//
// A client is two files: in what windows of time it sends how much and how unevenly, and how long
// its requests are. Merge the readers of several clients with merge_traces().
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/units.h"
#include "traces/generator.h"
#include "traces/trace.h"

namespace kvhaul {

struct ServegenWindow {
  enum class Gaps : std::uint8_t { exponential, gamma, weibull };
  TimeNs start_ns = 0;
  double requests_per_s = 0;
  Gaps gaps = Gaps::exponential;  // where the file names no pattern
  double shape = 1;               // of the gaps; their scale follows from the rate
};

struct ServegenLengths {
  TimeNs start_ns = 0;                       // until the next one starts
  std::optional<LengthTable> input, output;  // nothing where the file has "{}"
};

struct ServegenClient {
  std::vector<ServegenWindow> windows;   // by time; the last is as long as the one before
  std::vector<ServegenLengths> lengths;  // by time
};

// Errors name file, line, what was expected and what was found. Both files are held whole, as a
// client is small: about 100 bytes per window and 20 per different length.
Result<std::vector<ServegenWindow>> read_servegen_windows(std::unique_ptr<std::istream> bytes,
                                                          std::string name);
Result<std::vector<ServegenLengths>> read_servegen_lengths(std::unique_ptr<std::istream> bytes,
                                                           std::string name);
Result<ServegenClient> load_servegen_client(const std::string& trace_path,
                                            const std::string& dataset_path);

struct ServegenOptions {
  std::uint64_t seed = 1;
  double rate_factor = 1;   // of the client's own rate
  TimeNs from_ns = 0;       // the windows that start from here on; becomes time 0
  TimeNs to_ns = never_ns;  // and before this
};

/// As upstream does it: a window gets as many requests as its rate says (a fraction at random), at
/// gaps drawn from its distribution and stretched to fill it; input and output are drawn
/// independently. Requests of windows without known lengths are counted as left_out.
Result<TraceReaderPtr> generate_servegen(ServegenClient client, ServegenOptions options);

}  // namespace kvhaul
