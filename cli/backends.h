// The backends that this build can make, by name.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/backend.h"
#include "core/exchange.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul::cli {

struct BackendOptions {
  bool real_time = false;
  bool payload = false;
  bool throttle = false;
  std::vector<int> devices = {};                    // CUDA's number of each GPU of the scenario
  std::map<std::string, std::string> held_by = {};  // place: socket of the process that holds it
  bool busy_prefill = false;
  std::vector<std::string> nics = {};        // the port of each NIC of the scenario
  int service_level = 0, traffic_class = 0;  // of RDMA packets
  TimeNs lost_after_ns = 5 * s_ns;           // silence of another process
  bool verbs_option = false;                 // one of these was given: --nics, --service-level, ...
  /// The processes of the run and which of them drives each node; null: this one drives all.
  Exchange* exchange = nullptr;
  std::vector<std::uint32_t> rank_of_node = {};
};

/// Which kinds of time a backend runs in.
enum class BackendTime { both, only_virtual, only_real };

struct BackendEntry {
  std::string_view name;
  std::string_view summary;
  BackendTime time = BackendTime::both;
  /// Why it cannot be used here; empty when it can.
  std::string (*missing)() = nullptr;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options) = nullptr;
  bool several_processes = false;  // may make one run
};
std::span<const BackendEntry> backends();

/// The entry of that name; bad_input for an unknown one.
Result<const BackendEntry*> find_backend(const std::string& name);

/// Fails with bad_input for an unknown name, with missing for one that cannot be used here.
Result<std::unique_ptr<Backend>> make_backend(const std::string& name,
                                              const BackendOptions& options);

/// The options that say which devices a run drives and how, for every command that opens a backend.
class Options;
void declare_device_options(Options& options);
Result<void> read_device_options(const Options& options, BackendOptions& read);
/// Fails with bad_input where one of them is not for that backend.
Result<void> check_device_options(const std::string& backend, const BackendOptions& options);

}  // namespace kvhaul::cli
