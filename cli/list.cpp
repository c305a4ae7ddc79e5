// kvhaul list: what there is to choose from.
#include <algorithm>
#include <iostream>

#include "cli/backends.h"
#include "cli/command.h"
#include "cli/list_links.h"
#include "cli/terminal.h"
#include "core/policy/all.h"
#include "core/unit_text.h"
#include "scenarios/scenario.h"
#include "serving/model.h"
#include "traces/trace.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

void list_scenarios() {
  for (const BuiltinScenario& scenario : builtin_scenarios())
    std::cout << scenario.name << "\n    " << scenario_summary(scenario.text) << "\n";
}

void list_models() {
  TextTable table(
      {"model", "layers", "KV heads", "head dim", "KV/token", "128k tokens", "attention"});
  for (const ModelShape& m : builtin_models()) {
    std::string attention = m.attention == Attention::latent ? "MLA"
                            : m.kv_heads == m.query_heads
                                ? "MHA"
                                : "GQA-" + std::to_string(m.query_heads / m.kv_heads);
    if (m.window_tokens != 0)
      attention += ", window " + std::to_string(m.window_tokens) + " in " +
                   std::to_string(m.windowed_layers()) + " layers";
    table.add({m.name, std::to_string(m.layers),
               m.attention == Attention::latent ? "-" : std::to_string(m.kv_heads),
               std::to_string(m.head_dim), bytes_text(m.token_bytes()),
               bytes_text(m.token_bytes() * 131'072), attention});
  }
  std::cout << table.text();
}

void list_policies() {
  for (const PolicyName& policy : all_policies)
    std::cout << policy.name << "\n    " << policy.summary << "\n";
}

void list_backends() {
  for (const BackendEntry& backend : backends()) {
    const std::string missing = backend.missing();
    std::cout << backend.name << (missing.empty() ? "" : "  (not available: " + missing + ")")
              << "\n    " << backend.summary << "\n";
  }
}

void list_formats() {
  for (std::size_t i = 0; i < trace_format_count; ++i) {
    const auto format = static_cast<TraceFormat>(i);
    std::cout << trace_format_name(format) << "\n    " << trace_format_summary(format) << "\n";
  }
}

void list_links() { std::cout << links_table(); }

}  // namespace

CommandResult run_list(const Arguments& arguments) {
  static constexpr std::pair<std::string_view, void (*)()> lists[] = {
      {"scenarios", list_scenarios}, {"models", list_models},   {"policies", list_policies},
      {"backends", list_backends},   {"formats", list_formats}, {"links", list_links}};
  Options options("list", "scenarios|models|policies|backends|formats|links",
                  "Names what can be chosen, with a line about each.");
  options.add()("what", po::value<std::string>(), "which list");
  options.positional("what", 1);
  options.example("kvhaul list scenarios", "the scenarios that ship with the tool");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const auto what = options.maybe_text("what");
  std::vector<std::string> names;
  for (const auto& [name, print] : lists) {
    names.emplace_back(name);
    if (what && *what != name) continue;
    if (!what) std::cout << name << ":\n";
    print();
    if (what) return 0;
    std::cout << "\n";
  }
  if (what) return unknown_choice("kvhaul list", *what, names);
  return 0;
}

}  // namespace kvhaul::cli
