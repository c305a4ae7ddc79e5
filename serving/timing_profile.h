// Timing profiles: what others measured, read from the files they published.
//
// Errors (bad_input) are one line that names file, line, what was expected and what was found. A
// model, GPU or tensor parallelism that the file lacks is one, and names those that it has.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <string>

#include "core/result.h"
#include "serving/timing.h"

namespace kvhaul {

/// The measurements of a file that are wanted, by the names that the file uses.
struct ProfileChoice {
  std::string model;
  std::string hardware;  // splitwise-sim only: "h100-80gb"
  std::uint32_t tp = 1;
};

/// splitwise-sim's perf_model.csv. Prefill from the rows of batch 1, by prompt; decode steps from
/// all rows, by batch; medians over the repeats of a point. Batch 64 at tp 2 is left out: its
/// published prompt times are a ninth of those of batch 32.
Result<TimingTable> read_splitwise_profile(const std::string& path, const ProfileChoice& choice);
/// The same over bytes that are already open; `name` is what errors call them.
Result<TimingTable> read_splitwise_profile(std::unique_ptr<std::istream> bytes, std::string name,
                                           const ProfileChoice& choice);

/// DistServe's profiler-*.json, at a pipeline parallelism of 1.
Result<TimingPolynomial> read_distserve_profile(const std::string& path,
                                                const ProfileChoice& choice);
Result<TimingPolynomial> read_distserve_profile(std::unique_ptr<std::istream> bytes,
                                                std::string name, const ProfileChoice& choice);

}  // namespace kvhaul
