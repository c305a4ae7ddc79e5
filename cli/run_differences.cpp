#include "cli/run_differences.h"

#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "core/unit_text.h"
#include "scenarios/scenario_diff.h"

namespace kvhaul::cli {
namespace {

class Finder {
 public:
  void compare(const std::string& what, const std::string& first, const std::string& other) {
    if (first != other) found.all.push_back({what, first, other});
  }
  RunDifferences found;
};

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out.append(out.empty() ? "" : ",").append(name);
  return out.empty() ? "none" : out;
}
std::string listed(const std::vector<int>& numbers) {
  std::vector<std::string> names;
  for (const int number : numbers) names.push_back(std::to_string(number));
  return listed(names);
}

template <class T>
std::string text_or(const std::optional<T>& value, const char* none) {
  return value ? std::to_string(*value) : none;
}

/// Options that no label of summary.json has; --faults, --policy and their like are compared by
/// what they did.
void compare_options(Finder& finder, const ReplayRequest& a, const ReplayRequest& b) {
  const auto flag = [](bool on) { return on ? "on" : "off"; };
  finder.compare("--limit", text_or(a.limit, "all"), text_or(b.limit, "all"));
  finder.compare("--speedup", number_text(a.speedup, 12), number_text(b.speedup, 12));
  finder.compare("--spread-batches", flag(a.spread_batches), flag(b.spread_batches));
  finder.compare("--block-tokens", text_or(a.reading.block_tokens, "of the format"),
                 text_or(b.reading.block_tokens, "of the format"));
  const auto columns = [](const ReplayRequest& request) {
    return request.reading.columns.empty() ? "of the format" : request.reading.columns;
  };
  finder.compare("--columns", columns(a), columns(b));
  finder.compare("--throttle", flag(a.throttle.value_or(false)), flag(b.throttle.value_or(false)));
  finder.compare("--busy-prefill", flag(a.devices.busy_prefill), flag(b.devices.busy_prefill));
  finder.compare("--devices", listed(a.devices.devices), listed(b.devices.devices));
  finder.compare("--nics", listed(a.devices.nics), listed(b.devices.nics));
  finder.compare("--service-level", std::to_string(a.devices.service_level),
                 std::to_string(b.devices.service_level));
  finder.compare("--traffic-class", std::to_string(a.devices.traffic_class),
                 std::to_string(b.devices.traffic_class));
}

/// One after the other; those of both in the order of their files.
void compare_faults(Finder& finder, const faults::FaultScript& a, const faults::FaultScript& b) {
  const auto first = faults_to_play(a), other = faults_to_play(b);
  for (std::size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
    const auto text = [&](const std::vector<FaultUse>& faults) {
      return i < faults.size() ? fault_when(faults[i]) : std::string("none");
    };
    finder.compare("fault " + std::to_string(i + 1), text(first), text(other));
  }
  if (!first.empty() && !other.empty())
    finder.compare("seed of the faults", std::to_string(a.seed), std::to_string(b.seed));
}

/// How a scenario diff says it, but for what a label of the run says already.
void compare_scenarios(Finder& finder, const Scenario& a, const Scenario& b) {
  const auto differences = scenario_differences(a, b);
  if (!differences) {
    finder.found.unknown = differences.error().message;
    return;
  }
  for (const ScenarioDifference& difference : *differences) {
    if (difference.path == "scheduler.policy" || difference.path == "serving.streaming" ||
        difference.path == "model")
      continue;
    const auto text = [](const std::optional<ReadValue>& value) {
      return value ? value->text : std::string("-");
    };
    finder.compare(difference.path, text(difference.first), text(difference.second));
  }
}

}  // namespace

RunDifferences run_differences(const RunDirectory& first, const RunDirectory& other) {
  Finder finder;
  for (const char* label : {"scenario", "trace", "trace_format", "model", "backend", "time",
                            "payload", "policy", "streaming", "direction", "seed"})
    if (const std::string key = "run." + std::string(label); first.texts.count(key) != 0)
      finder.compare(label, first.text(key), other.text(key));
    else if (first.numbers.count(key) != 0)
      finder.compare(label, number_text(first.number(key), 20), number_text(other.number(key), 20));
  const auto a = read_run_file(first.path), b = read_run_file(other.path);
  if (!a || !b) {
    finder.found.unknown = (a ? b : a).error().message;
    return finder.found;
  }
  finder.compare("version of kvhaul", a->version, b->version);
  if (first.text("run.trace") == other.text("run.trace"))
    finder.compare("bytes of the trace", a->trace_bytes, b->trace_bytes);
  const auto options = [](const RunFile& file) {
    // The first word is the command.
    return read_replay_request(
        {file.command.begin() + (file.command.empty() ? 0 : 1), file.command.end()});
  };
  const auto a_options = options(*a), b_options = options(*b);
  if (a_options && b_options) compare_options(finder, *a_options, *b_options);
  if (a->scenario == b->scenario && a->faults == b->faults) return finder.found;
  const auto a_made = read_run_scenario(first, *a), b_made = read_run_scenario(other, *b);
  if (!a_made || !b_made) {
    finder.found.unknown = (a_made ? b_made : a_made).error().message;
    return finder.found;
  }
  compare_scenarios(finder, a_made->scenario, b_made->scenario);
  compare_faults(finder, a_made->script, b_made->script);
  return finder.found;
}

}  // namespace kvhaul::cli
