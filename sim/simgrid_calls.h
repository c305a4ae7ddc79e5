// Every call into SimGrid, so that a change of its interface is mended in one file. Written against
// 3.32 (Debian 12); what later versions renamed is named beside the call in simgrid_calls.cpp.
//
// What SimGrid is asked: given that these flows are under way, at what rate does each run? The
// answer is its max-min solution over the links of a platform that is built here. A flow stands for
// a channel. It is started once, with more to move than any run will, and from then on suspended
// whenever its channel is idle: that costs less than a flow for every chunk, and chunks
// that follow each other on a channel cost SimGrid nothing. Its clock therefore never moves; how
// far each chunk has got is simgrid_wire.cpp's to keep.
//
// SimGrid holds one engine per process. Platforms of several backends lie in it side by side and
// know nothing of each other; their links stay in memory until the process ends.
//
// Errors: what SimGrid throws while a platform is built comes out as std::exception. Later it
// cannot fail on anything that a user gave; should it, the program stops with what SimGrid said.
// Threads: the one that made the first platform.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/ids.h"

namespace kvhaul::sim {

class SimgridPlatform {
 public:
  /// `flows` is how many flows there will be.
  explicit SimgridPlatform(std::size_t flows);
  ~SimgridPlatform();
  SimgridPlatform(const SimgridPlatform&) = delete;
  SimgridPlatform& operator=(const SimgridPlatform&) = delete;

  /// Flows on it share the rate, max-min. A rate of 0 would be no limit.
  void add_link(LinkId id, double bytes_per_s);
  /// Links in order; one that is listed twice is loaded twice.
  void add_flow(std::uint32_t flow, const std::vector<LinkId>& links);

  void set_link_rate(LinkId id, double bytes_per_s);
  void run_flow(std::uint32_t flow);
  void pause_flow(std::uint32_t flow);
  /// Shares the links anew among the flows that run. Call it after any of the three above.
  void share();
  /// Bytes per second, as of the last share().
  double rate(std::uint32_t flow) const;

  static std::string version();

 private:
  void start_flow(std::uint32_t flow);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvhaul::sim
