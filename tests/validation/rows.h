// The published measurements that the simulation is held against, each simulated on a scenario that
// ships. docs/validation.md is their table.
#pragma once

#include <string>
#include <vector>

namespace kvhaul::test {

struct Row {
  std::string group;  // heading
  std::string what;   // set-up
  std::string unit;   // "ms" or "GB/s"
  double measured = 0;
  double simulated = 0;
  double formula = 0;  // bytes / line rate, as other serving simulators compute it
  std::string note;    // source, and what explains the error

  double error() const { return simulated / measured - 1; }
  double formula_error() const { return formula / measured - 1; }
};

/// Simulates all of them; deterministic.
std::vector<Row> validation_rows();

/// docs/validation.md.
std::string validation_page(const std::vector<Row>& rows);

}  // namespace kvhaul::test
