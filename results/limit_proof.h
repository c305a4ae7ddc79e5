// The proof beside the sentence that names what limits a run: why.json in its directory, written by
// `kvhaul report --why`. It holds the median time to first token of the same requests, replayed in
// virtual time with a tenth more of one thing after the other. Who reads the run directory gets the
// sentence that rests on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace kvhaul {

struct RunDirectory;

inline constexpr const char* limit_proof_file = "why.json";

struct LimitProof {
  struct Rerun {
    std::string key;    // "decode_memory", "nic_links"
    std::string label;  // as the sentence names it: "decode memory"
    std::string more;   // what it had: "10% more decode memory"
    std::string limit;  // of limits.h, whose time it shortens: "decode_memory"
    double ttft_p50_ms = 0;
    std::uint64_t completed = 0;  // requests, over which the median is
  };
  std::string backend;          // of the reruns
  bool run_was_real = false;    // the run itself was in real time: they are its simulation
  double ttft_p50_ms = 0;       // with nothing changed, in virtual time
  std::vector<Rerun> reruns;    // the lowest median first
  std::uint64_t completed = 0;  // requests, with nothing changed

  /// By what share of the median it is shorter; below zero where it is longer.
  double gain(const Rerun& rerun) const { return 1 - rerun.ttft_p50_ms / ttft_p50_ms; }
  /// What it had, and how many requests were completed where that differs.
  std::string more_text(const Rerun& rerun) const;
  std::string gain_text(const Rerun& rerun) const;  // "12%"; "0%" below a ten-thousandth
};

/// A tenth more of what is named makes the median a hundredth shorter, or more.
inline constexpr double proven_gain_min = 0.01;

std::string limit_proof_json(const LimitProof& proof);
/// Errors are bad_input and name `file`.
Result<LimitProof> parse_limit_proof(const std::string& text, const std::string& file);

/// Puts the proof in place of what the run by itself says: its sentence, and which limit is first;
/// none where no rerun gains enough.
void apply_limit_proof(const LimitProof& proof, RunDirectory& run);

}  // namespace kvhaul
