// kvhaul list: what there is to choose from.
#include <algorithm>
#include <iostream>

#include "cli/backends.h"
#include "cli/command.h"
#include "cli/json_text.h"
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

Json scenarios_json() {
  Json list = Json::array();
  for (const BuiltinScenario& scenario : builtin_scenarios())
    list.push_back({{"name", scenario.name}, {"summary", scenario_summary(scenario.text)}});
  return list;
}

Json models_json() {
  Json list = Json::array();
  for (const ModelShape& m : builtin_models())
    list.push_back({{"name", m.name},
                    {"layers", m.layers},
                    {"query_heads", m.query_heads},
                    {"attention", m.attention == Attention::latent ? "latent" : "heads"},
                    {"kv_heads", m.kv_heads},
                    {"head_dim", m.head_dim},
                    {"active_parameters", m.active_parameters},
                    {"total_parameters", m.total_parameters},
                    {"context_tokens", m.context_tokens},
                    {"window_tokens", m.window_tokens},
                    {"windowed_layers", m.windowed_layers()},
                    {"kv_per_token_bytes", m.token_bytes()}});
  return list;
}

Json policies_json() {
  Json list = Json::array();
  for (const PolicyName& policy : all_policies)
    list.push_back({{"name", policy.name}, {"summary", policy.summary}});
  return list;
}

Json backends_json() {
  Json list = Json::array();
  for (const BackendEntry& backend : backends()) {
    const std::string missing = backend.missing();
    list.push_back({{"name", backend.name},
                    {"summary", backend.summary},
                    {"available", missing.empty()},
                    {"missing", missing.empty() ? Json() : Json(missing)},
                    {"virtual_time", backend.time != BackendTime::only_real},
                    {"real_time", backend.time != BackendTime::only_virtual},
                    {"several_processes", backend.several_processes}});
  }
  return list;
}

Json formats_json() {
  Json list = Json::array();
  for (std::size_t i = 0; i < trace_format_count; ++i) {
    const auto format = static_cast<TraceFormat>(i);
    list.push_back(
        {{"name", trace_format_name(format)}, {"summary", trace_format_summary(format)}});
  }
  return list;
}

}  // namespace

CommandResult run_list(const Arguments& arguments) {
  struct List {
    const char* name;
    void (*print)();
    Json (*json)();
  };
  static constexpr List lists[] = {
      {"scenarios", list_scenarios, scenarios_json}, {"models", list_models, models_json},
      {"policies", list_policies, policies_json},    {"backends", list_backends, backends_json},
      {"formats", list_formats, formats_json},       {"links", list_links, links_json}};
  Options options("list", "[scenarios|models|policies|backends|formats|links] [options]",
                  "Names what can be chosen, with a line about each.");
  options.add()                                                   //
      ("what", po::value<std::string>(), "which list; else all")  //
      ("json", po::bool_switch(), "print JSON (docs/json.md)");
  options.positional("what", 1);
  options.example("kvhaul list scenarios", "the scenarios that ship with the tool");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const auto what = options.maybe_text("what");
  std::vector<std::string> names;
  for (const List& list : lists) names.emplace_back(list.name);
  if (what && std::find(names.begin(), names.end(), *what) == names.end())
    return unknown_choice("kvhaul list", *what, names);
  Json json = {{"schema", 1}};
  for (const List& list : lists) {
    if (what && *what != list.name) continue;
    if (options.flag("json")) {
      json[list.name] = list.json();
      continue;
    }
    if (!what) std::cout << list.name << ":\n";
    list.print();
    if (!what) std::cout << "\n";
  }
  if (options.flag("json")) std::cout << json_text(json);
  return 0;
}

}  // namespace kvhaul::cli
