// A small scenario whose parts can be changed, and the one error that follows.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "scenarios/scenario.h"

namespace kvhaul::test {

/// Two GPUs in one node. Line numbers matter to the tests.
inline constexpr std::string_view small_scenario = R"(name: small
cluster:
  node_types:
    box:
      hosts: {memory_rate: 20 GB/s}
      gpus: {count: 2, memory: 1 GB, host_link: {rate: 10 GB/s}}
  nodes:
    - {type: box}
routes:
  order: [pcie_p2p]
  pcie_p2p: {fixed_cost: 5 us}
model: llama-3.1-8b
serving:
  prefill: {gpus: [node0/gpu0], kv_memory: 500 MB, timing: {gpu: h100}}
  decode: {gpus: [node0/gpu1], kv_memory: 500 MB, timing: {gpu: h100}}
)";

/// The small scenario with one text in place of another, which must be there.
inline std::string with(std::string_view old_text, std::string_view new_text) {
  std::string text(small_scenario);
  const std::size_t at = text.find(old_text);
  EXPECT_NE(at, std::string::npos) << old_text;
  if (at != std::string::npos) text.replace(at, old_text.size(), new_text);
  return text;
}

/// What is said about a text; empty when it is a scenario. Every error is one printable line.
inline std::string error_of(const std::string& text) {
  const auto scenario = parse_scenario(text, "s.yaml");
  if (scenario) return "";
  EXPECT_EQ(scenario.error().kind, ErrorKind::bad_input);
  const std::string& message = scenario.error().message;
  EXPECT_LT(message.size(), 600u) << message;
  for (const char c : message) EXPECT_TRUE(c >= ' ' && c <= '~') << message;
  return message;
}

inline std::string error_with(std::string_view old_text, std::string_view new_text) {
  return error_of(with(old_text, new_text));
}

}  // namespace kvhaul::test
